"""Signed control messages: who may steer is who holds a key, whatever the broker lets pass."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .canonical import canonical
from .keys import SigningKey

__all__ = ["FindKey", "Refusal", "Stamp", "sign", "verify"]

FindKey = Callable[[str], bytes | None]
"""Called with a key's id; returns its secret, or None where there is no such key."""

_ALGORITHM = "HMAC-SHA256"
# In front of what is signed, so that a signature made for something else under the same key is none here.
_PURPOSE = b"cascade-control-1\n"
_FIELDS = {"alg": str, "key": str, "topic": str, "iat": int, "ttl": int, "seq": int, "mac": str}
# By how much the clock of a reader may be behind the clock of a controller.
_SKEW_S = 60


class Refusal(Exception):
    """A control message that is not obeyed; ``reason`` is what it is counted by."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Stamp(NamedTuple):
    """What a valid signature says: its place in the sequence, when it lapses (Unix seconds), and itself."""

    seq: int
    lapses_at: int
    mac: str


def sign(
    message: Mapping[str, Any], topic: str, key: SigningKey, *, issued_at: int, ttl: int, seq: int
) -> dict[str, Any]:
    """The message with a ``signature``, for this topic alone.

    Args:
        message: what is to be published; a ``signature`` in it is replaced.
        issued_at: Unix time in seconds.
        ttl: seconds for which it is valid from then on.
        seq: more than that of all messages before it; by convention Unix time in microseconds.

    Raises:
        ValueError: the message has no canonical form (RFC 8785).
    """
    fields = {"alg": _ALGORITHM, "key": key.id, "topic": topic, "iat": issued_at, "ttl": ttl, "seq": seq}
    signed = {**message, "signature": fields}
    return {**signed, "signature": {**fields, "mac": _mac(key.secret, signed)}}


def verify(message: Mapping[str, Any], topic: str, find_key: FindKey, *, now: float) -> Stamp:
    """What the signature of a message says, if it is valid for this topic at this time.

    Raises:
        Refusal: it is not; ``reason`` is ``unsigned``, ``unknown_key``, ``bad_signature``, ``foreign_topic``
            or ``stale``.
    """
    signature = message.get("signature")
    if signature is None:
        raise Refusal("unsigned", "it is not signed")
    fields = _fields(signature)
    secret = _secret(find_key, fields["key"])
    unsigned = {name: value for name, value in fields.items() if name != "mac"}
    try:
        expected = _mac(secret, {**message, "signature": unsigned})
    except ValueError as error:
        raise Refusal("bad_signature", str(error)) from None
    if not hmac.compare_digest(expected.encode(), fields["mac"].encode("utf-8", "replace")):
        raise Refusal("bad_signature", f"its signature is not of key {fields['key']!r}")
    # Only now is what it says more than a claim.
    if fields["topic"] != topic:
        raise Refusal("foreign_topic", "it was signed for another topic")
    lapses_at = fields["iat"] + fields["ttl"]
    if now >= lapses_at:
        raise Refusal("stale", f"its time ended {now - lapses_at:.0f} s ago")
    if fields["iat"] > now + _SKEW_S:
        raise Refusal("stale", f"it was issued {fields['iat'] - now:.0f} s from now: a clock is wrong")
    return Stamp(fields["seq"], lapses_at, fields["mac"])


def _mac(secret: bytes, message: Mapping[str, Any]) -> str:
    return hmac.new(secret, _PURPOSE + canonical(dict(message)), hashlib.sha256).hexdigest()


def _fields(signature: Any) -> dict[str, Any]:
    """The signature's fields, all there and of the right type, and no others: what is not understood is not obeyed."""
    if not isinstance(signature, Mapping) or signature.keys() != _FIELDS.keys():
        raise Refusal("bad_signature", f"its signature must have exactly the fields {', '.join(_FIELDS)}")
    for name, kind in _FIELDS.items():
        if not isinstance(signature[name], kind) or isinstance(signature[name], bool):
            raise Refusal("bad_signature", f"its signature's {name} must be {kind.__name__}")
    if signature["alg"] != _ALGORITHM:
        raise Refusal("bad_signature", f"its signature's alg must be {_ALGORITHM}")
    return dict(signature)


def _secret(find_key: FindKey, key_id: str) -> bytes:
    try:
        secret = find_key(key_id)
    except Exception as error:
        raise Refusal("unknown_key", f"the keys cannot be read: {type(error).__name__}") from error
    if not secret:
        raise Refusal("unknown_key", f"there is no key {key_id!r}")
    return secret
