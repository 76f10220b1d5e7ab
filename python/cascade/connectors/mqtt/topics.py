"""Topic names and filters: validation, matching, and ids made safe for a topic level."""

from __future__ import annotations

import re

from .errors import TopicError

__all__ = ["check_filter", "check_name", "decode_id", "encode_id", "matches"]

_MAX_BYTES = 65_535
_SHARED = re.compile(r"\$share/[^/]*/(?=.)", re.DOTALL)
_UNSAFE = re.compile(r"^@|[+#/%\x00-\x1f\x7f-\x9f]")
_ENCODED = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_name(topic: str) -> None:
    """Raise ``TopicError`` unless a message can be published to ``topic`` (MQTT 3.1.1 section 4.7)."""
    _check_text(topic)
    if "+" in topic or "#" in topic:
        raise TopicError("a topic to publish to must not hold the wildcards + and # (MQTT 3.1.1 section 4.7.1)")


def check_filter(topic_filter: str) -> None:
    """Raise ``TopicError`` unless ``topic_filter`` can be subscribed to (MQTT 3.1.1 section 4.7.1)."""
    _check_text(topic_filter)
    levels = topic_filter.split("/")
    for place, level in enumerate(levels):
        if "#" in level and (level != "#" or place != len(levels) - 1):
            raise TopicError("# must be the last level of a topic filter, alone (MQTT 3.1.1 section 4.7.1.2)")
        if "+" in level and level != "+":
            raise TopicError("+ must stand alone in a level of a topic filter (MQTT 3.1.1 section 4.7.1.3)")


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a valid filter matches a valid topic (MQTT 3.1.1 section 4.7).

    ``a/#`` matches ``a``; a wildcard in the first level does not match a topic that begins with ``$``.
    ``$share/{group}/{filter}`` matches what ``{filter}`` does (MQTT 5.0 section 4.8.2; brokers grant
    it to 3.1.1 clients too).
    """
    if shared := _SHARED.match(topic_filter):
        topic_filter = topic_filter[shared.end() :]
    if topic.startswith("$") and topic_filter.startswith(("+", "#")):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def encode_id(name: str) -> str:
    """An id as one topic level: ``+ # / %``, control characters and a leading ``@`` percent-encoded.

    ``@`` at the front of a level is kept for the protocol's own topics; lone surrogates become U+FFFD, as
    they do in payloads (RFC 3986 section 2.1).
    """
    return _UNSAFE.sub(_percent_encoded, _SURROGATE.sub("\ufffd", name))


def decode_id(level: str) -> str:
    """The id that ``encode_id`` made this level of."""
    return _ENCODED.sub(_decoded, level)


def _decoded(encoded: re.Match[str]) -> str:
    return bytes.fromhex(encoded[0].replace("%", "")).decode(errors="replace")


def _percent_encoded(unsafe: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in unsafe[0].encode())


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TopicError(f"a topic must be a str, not {type(text).__name__}")
    if not text:
        raise TopicError("a topic must not be empty (MQTT 3.1.1 section 4.7.3)")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise TopicError("a topic must not hold lone surrogates (MQTT 3.1.1 section 1.5.3)") from None
    if size > _MAX_BYTES:
        raise TopicError(f"a topic of {size} bytes is over {_MAX_BYTES} (MQTT 3.1.1 section 4.7.3)")
    if "\0" in text:
        raise TopicError("a topic must not hold U+0000 (MQTT 3.1.1 section 4.7.3)")
