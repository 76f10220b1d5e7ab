"""``CASCADE_MQTT_*``: how an operator sets what a program's author did not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["from_environment"]

PREFIX = "CASCADE_MQTT_"
# An operator cannot edit the engine, so these two win over the constructor; the rest yield to it.
_WINS = ("backend", "first_connect")
_SCALARS = {"str": str, "int": int, "float": float}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def from_environment(
    options: type, renamed: Mapping[str, str], environ: Mapping[str, str], given: set[str]
) -> dict[str, Any]:
    """Values for the fields of ``options`` that the environment sets.

    Raises:
        ValueError: a variable whose text does not fit its option; the message names the variable.
    """
    outside = {inside: name for name, inside in renamed.items()}
    found: dict[str, Any] = {}
    for option in dataclasses.fields(options):
        variable = PREFIX + outside.get(option.name, option.name).upper()
        text = environ.get(variable)
        if not text or option.name in ("hostname", "port", "will"):
            continue
        if option.name in given and option.name not in _WINS:
            continue
        value = _parse(variable, str(option.type), text)
        if value is not None:
            found[option.name] = value
    return found


def _parse(variable: str, annotation: str, text: str) -> Any:
    kind = annotation.split("|")[0].strip()
    if kind == "bool":
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise ValueError(f"{variable} must be true or false, not {text!r}")
    if kind in ("int", "float"):
        try:
            return _SCALARS[kind](text)
        except ValueError:
            raise ValueError(f"{variable} must be a number, not {text!r}") from None
    if kind == "str" or kind in ("BackendName", "FirstConnect", "OnFull", "AfterFork", "Protocol", "Transport"):
        return text
    return None
