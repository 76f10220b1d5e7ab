"""``CASCADE_MQTT_*``: how an operator sets what a program's author did not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from .batching import BatchOptions

__all__ = ["from_environment"]

PREFIX = "CASCADE_MQTT_"
# An operator cannot edit the engine, so these two win over the constructor; the rest yield to it.
_WINS = ("backend", "first_connect")
_SCALARS = {"str": str, "int": int, "float": float}
_TEXTS = ("str", "BackendName", "FirstConnect", "OnFull", "AfterFork", "Protocol", "Transport", "Compression")
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
    if kind == "BatchOptions":
        return _batch(variable, text)
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
    return text if kind in _TEXTS else None


def _batch(variable: str, text: str) -> BatchOptions | None:
    """``on``, ``off``, or what differs from the defaults: ``max_events=64,linger=0.02``."""
    if text.lower() in _FALSE:
        return None
    wanted = {} if text.lower() in _TRUE else dict(part.strip().partition("=")[::2] for part in text.split(","))
    fields = {option.name: str(option.type) for option in dataclasses.fields(BatchOptions)}
    given: dict[str, Any] = {}
    for name, value in wanted.items():
        if name not in fields:
            raise ValueError(f"{variable} must be on, off, or a list of {', '.join(fields)} with values, not {text!r}")
        given[name] = _parse(f"{variable}: batch.{name}", fields[name], value)
    try:
        return BatchOptions(**given)
    except ValueError as error:
        raise ValueError(f"{variable}: {error}") from None
