"""Outside systems regulate running workflows: constraints, the resources they limit, and the gate to a start."""

from __future__ import annotations

from .constraint import GlobalConstraint
from .handlers import ConstraintHandler, check_params
from .manager import ConstraintManager
from .resources import ResourceManager
from .scopes import Scope

__all__ = [
    "ConstraintHandler",
    "ConstraintManager",
    "GlobalConstraint",
    "ResourceManager",
    "Scope",
    "check_params",
]
