"""Outside systems regulate running workflows: constraints, the resources they limit, and the gate to a start."""

from __future__ import annotations

from .confirmations import Change
from .constraint import GlobalConstraint
from .gate import Gate, Waiting
from .controller import ConstraintController
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
    "ConstraintSync",
    "GlobalConstraint",
    "KeyFile",
    "ResourceManager",
    "Scope",
    "Waiting",
    "SigningKey",
    "SyncStats",
    "check_params",
]
