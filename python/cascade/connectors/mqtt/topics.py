"""Topic names and filters: validation, matching, and ids made safe for a topic level."""

from __future__ import annotations

from .errors import TopicError

__all__ = ["check_filter", "check_name", "encode_id", "matches"]

_MAX_BYTES = 65_535


def check_name(topic: str) -> None:
    """Raise ``TopicError`` unless a message can be published to ``topic`` (MQTT 3.1.1 section 4.7)."""
    _check_text(topic, "topic")
    if "+" in topic or "#" in topic:
        raise TopicError("a topic to publish to must not hold the wildcards + and #")


def check_filter(topic_filter: str) -> None:
    """Raise ``TopicError`` unless ``topic_filter`` can be subscribed to (MQTT 3.1.1 section 4.7.1)."""
    _check_text(topic_filter, "topic filter")
    levels = topic_filter.split("/")
    for place, level in enumerate(levels):
        if "#" in level and (level != "#" or place != len(levels) - 1):
            raise TopicError("# must be the last level of a topic filter, alone")
        if "+" in level and level != "+":
            raise TopicError("+ must stand alone in a level of a topic filter")


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a valid filter matches a valid topic; ``a/#`` matches ``a``, wildcards do not match ``$SYS``."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)


def encode_id(name: str) -> str:
    """An id as one topic level: ``+ # / % @``-leading and control characters percent-encoded (RFC 3986 section 2.1)."""
    encoded = "".join(
        "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace")) if char in "+#/%" or ord(char) < 32 or 127 <= ord(char) < 160 else char
        for char in name
    )
    return "%40" + encoded[1:] if encoded.startswith("@") else encoded


def _check_text(text: str, what: str) -> None:
    if not isinstance(text, str):
        raise TopicError(f"a {what} must be a str, not {type(text).__name__}")
    if not text:
        raise TopicError(f"a {what} must not be empty (MQTT 3.1.1 section 4.7.3)")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise TopicError(f"a {what} must not hold lone surrogates (MQTT 3.1.1 section 1.5.3)") from None
    if size > _MAX_BYTES:
        raise TopicError(f"a {what} of {size} bytes is over {_MAX_BYTES}")
    if "\0" in text:
        raise TopicError(f"a {what} must not hold U+0000 (MQTT 3.1.1 section 4.7.3)")
