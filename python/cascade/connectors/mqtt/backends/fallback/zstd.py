"""Compression of batches (RFC 8878): the standard library's, or its backport before Python 3.14."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

__all__ = ["EXTRA", "MAGIC", "Broken", "TooLarge", "compressor", "inflate", "is_available"]

MAGIC = b"\x28\xb5\x2f\xfd"
"""What a frame begins with (RFC 8878 section 3.1.1); no JSON does."""

EXTRA = "pip install 'cascade-connector-mqtt[zstd]'"
"""What to do where there is none."""

_LEVEL = 1
"""Measured on batches of telemetry: as small as level 3, in half the time."""

_LEAST_WINDOW_LOG = 23
"""Every decoder should support windows of 8 MiB (RFC 8878 section 3.1.1.1.2)."""


class Broken(ValueError):
    """Not one whole frame of zstd, or nothing here that understands it."""


class TooLarge(ValueError):
    """It inflates to more than is allowed."""


def is_available() -> bool:
    """Whether batches can be compressed and inflated here."""
    return _module() is not None


def compressor() -> Callable[[bytes | bytearray], bytes]:
    """One frame for each call; its memory is used again by the next."""
    module = _module()
    assert module is not None, "is_available() was not asked"
    context = module.ZstdCompressor(level=_LEVEL)

    def compress(data: bytes | bytearray) -> bytes:
        frame: bytes = context.compress(data, context.FLUSH_FRAME)
        return frame

    return compress


def inflate(data: bytes, limit: int) -> bytes:
    """What one frame holds; no more than ``limit`` bytes are ever made.

    Raises:
        Broken, TooLarge: why there is nothing.
    """
    module = _module()
    if module is None:
        raise Broken
    window_log = max(_LEAST_WINDOW_LOG, (limit - 1).bit_length())
    options = {module.DecompressionParameter.window_log_max: min(window_log, 31)}
    decompressor = module.ZstdDecompressor(options=options)
    try:
        inflated: bytes = decompressor.decompress(data, limit + 1)
    except module.ZstdError:
        raise Broken from None
    if len(inflated) > limit:
        raise TooLarge
    if not decompressor.eof or decompressor.unused_data:
        raise Broken
    return inflated


def _module() -> ModuleType | None:
    # Loaded at the first need: importing the package costs nothing of it.
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
