"""Which backend carries a connector: decided here, once, when the connector is made."""

from __future__ import annotations

import logging

from ..errors import BackendUnavailable
from ..options import Options
from .base import Backend

__all__ = ["choose"]

_said: set[tuple[str, ...]] = set()


def choose(options: Options) -> type[Backend]:
    """The class of the backend that ``options`` ask for.

    Raises:
        ValueError: ``backend="native"`` with options that only the fallback carries, or the fallback with one that
            needs an extra; they are named.
        BackendUnavailable: the backend that was asked for cannot be imported.
    """
    if options.backend == "python":
        return _python(options)
    fallback_only = options.fallback_only()
    if options.backend == "native":
        if fallback_only:
            raise ValueError(f"backend='native' does not carry {', '.join(fallback_only)}; use 'auto' or 'python'")
        return _native()
    if fallback_only:
        _say_once(options, f"{', '.join(fallback_only)} is carried by it alone", *fallback_only)
        return _python(options)
    try:
        return _native()
    except BackendUnavailable as error:
        _say_once(options, str(error))
        return _python(options)


def _native() -> type[Backend]:
    try:
        from .native import NativeBackend
    except ImportError as error:
        raise BackendUnavailable(f"the compiled core cannot be loaded: {error}") from error
    return NativeBackend


def _python(options: Options) -> type[Backend]:
    try:
        from .python import PythonBackend
    except ImportError as error:
        raise BackendUnavailable(f"the fallback cannot be loaded: {error}") from error
    if options.batch is not None and options.batch.compression is not None:
        from .fallback import zstd

        if not zstd.is_available():
            raise ValueError(f"batch.compression='zstd' needs an extra on the fallback: {zstd.EXTRA}")
    return PythonBackend


def _say_once(options: Options, why: str, *names: str) -> None:
    if names not in _said:
        _said.add(names)
        logger = options.logger or logging.getLogger("cascade.connectors.mqtt")
        logger.info("using the fallback over aiomqtt: %s", why)
