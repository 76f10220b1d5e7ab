"""What becomes of a publish that was not queued: a line in the log once, or an error where one is wanted."""

from __future__ import annotations

import logging

from .backends.base import REJECTIONS, Backend
from .errors import ConfirmationError, MqttError, PayloadError, TopicError

__all__ = ["FORKED", "QUEUE_FULL", "Refusals"]

QUEUE_FULL = REJECTIONS.index("queue_full")
FORKED = REJECTIONS.index("forked")

_LINES = {
    "not_connected": "publish before connect() is ignored",
    "closed": "publish after disconnect() is ignored",
    "forked": "publish in a forked process is ignored (after_fork='close', or a hook of publish has forked)",
}
_MISTAKES: dict[str, type[Exception]] = {
    "unserialisable": PayloadError,
    "too_large": PayloadError,
    "invalid_topic": TopicError,
    "invalid_qos": ValueError,
}


class Refusals:
    """Says each reason once until ``forget``: a broken event a thousand times a second is one line."""

    def __init__(self, logger: logging.Logger, *, strict: bool) -> None:
        self._logger = logger
        self._strict = strict
        self.said = bytearray(len(REJECTIONS))
        """By code: 1, another refusal needs no word until ``forget``."""

    def note(self, code: int, backend: Backend) -> None:
        """Log a refusal by this thread's last publish; with ``strict`` raise for the caller's mistakes."""
        reason = REJECTIONS[code]
        if self._strict and reason in _MISTAKES:
            raise _MISTAKES[reason](_words(reason, backend))
        if not self.said[code]:
            self.said[code] = 1
            line = _LINES.get(reason) or f"an event was refused: {_words(reason, backend)}"
            self._logger.warning("%s; further ones are counted in stats()", line)

    def error(self, code: int, backend: Backend) -> MqttError | ValueError:
        """The error for a caller who asked for certainty."""
        reason = REJECTIONS[code]
        if reason in ("unserialisable", "too_large"):
            return PayloadError(_words(reason, backend))
        if reason == "invalid_topic":
            return TopicError(_words(reason, backend))
        if reason == "invalid_qos":
            return ValueError(_words(reason, backend))
        return ConfirmationError(f"not queued: {_words(reason, backend)}", may_arrive=False)

    def forget(self, reason: str | None = None) -> None:
        """The state has changed: say it again next time."""
        if reason is None:
            self.said[:] = bytes(len(REJECTIONS))
        else:
            self.said[REJECTIONS.index(reason)] = 0


def _words(reason: str, backend: Backend) -> str:
    detail = backend.rejection_detail()
    return f"{reason}: {detail}" if detail else reason
