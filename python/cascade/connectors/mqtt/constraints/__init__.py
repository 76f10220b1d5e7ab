"""Outside systems regulate running workflows: constraints, the resources they limit, and the gate to a start."""

from __future__ import annotations

from .confirmations import Change
from .constraint import GlobalConstraint
from .controller import ConstraintController
from .environment import Environment
from .gate import Gate, Waiting
from .handlers import ConstraintHandler, check_params
from .keys import KeyFile, SigningKey
from .lazy import Lazy
from .manager import ConstraintManager
from .resolver import ConstraintResolver
from .resources import ResourceManager
from .scopes import Scope
from .sync import ConstraintSync, SyncStats

__all__ = [
    "Change",
    "ConstraintController",
    "ConstraintHandler",
    "ConstraintManager",
    "ConstraintResolver",
    "ConstraintSync",
    "Environment",
    "Gate",
    "GlobalConstraint",
    "KeyFile",
    "Lazy",
    "ResourceManager",
    "Scope",
    "SigningKey",
    "SyncStats",
    "Waiting",
    "check_params",
]
