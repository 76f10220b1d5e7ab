"""Why a connection failed or ended, in the words that reach a log line; both backends use the same."""

from __future__ import annotations

import errno
import socket
import ssl

__all__ = [
    "CLOSED",
    "KEEP_ALIVE",
    "MALFORMED",
    "STUCK",
    "TAKEOVER",
    "TIMED_OUT",
    "TOO_LARGE",
    "ConnectFailure",
    "disconnected",
    "hangs",
    "of_error",
    "refused",
    "unexpected",
]

CLOSED = "connection closed by the broker"
KEEP_ALIVE = "no answer to PINGREQ within half a keep-alive"
MALFORMED = "malformed packet from the broker"
STUCK = "a subscription is stuck and its queue is full"
TAKEOVER = "the broker sent DISCONNECT: another client uses this identifier"
TIMED_OUT = "timed out"
TOO_LARGE = "the broker sent a packet above max_inbound_bytes"

# CONNACK return codes (MQTT 3.1.1 section 3.2.2.3): words, and whether trying again cannot help.
_RETURN_CODES = {
    1: ("unacceptable protocol version", True),
    2: ("identifier rejected", True),
    3: ("server unavailable", False),
    4: ("bad user name or password", True),
    5: ("not authorised", True),
}
# CONNACK reason codes (MQTT 5.0 section 3.2.2.2) that are permanent, or have words of 3.1.1; DISCONNECT has the others.
_REASON_CODES = {
    0x84: _RETURN_CODES[1],
    0x85: _RETURN_CODES[2],
    0x86: _RETURN_CODES[4],
    0x87: _RETURN_CODES[5],
    0x88: _RETURN_CODES[3],
    0x89: ("server busy", False),
    0x8A: ("banned", True),
    0x8C: ("bad authentication method", True),
    0x97: ("quota exceeded", False),
    0x9F: ("connection rate exceeded", False),
}
# DISCONNECT reason codes (MQTT 5.0 section 3.14.2.1).
_DISCONNECT_CODES = {
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x87: "not authorized",
    0x89: "server busy",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "qos not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscription not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscription not supported",
}
_ERRNOS = {
    errno.ENETUNREACH: "network unreachable",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EMFILE: "too many open files: raise the limit of this process (ulimit -n)",
}


class ConnectFailure(Exception):
    """An attempt to connect that came to nothing.

    ``permanent``: trying again with the same options cannot help. ``version``: an older protocol
    version may be understood.
    """

    def __init__(self, why: str, *, permanent: bool = False, version: bool = False) -> None:
        super().__init__(why)
        self.why, self.permanent, self.version = why, permanent, version


def refused(code: int) -> ConnectFailure:
    """A CONNACK other than success. Old brokers answer MQTT 5 with return code 1."""
    passing = _DISCONNECT_CODES.get(code, f"refused with the reserved code {code}"), False
    why, permanent = (_RETURN_CODES | _REASON_CODES).get(code, passing)
    return ConnectFailure(why, permanent=permanent, version=code in (0x01, 0x84))


def disconnected(code: int) -> str:
    """A DISCONNECT from a broker of MQTT 5."""
    return f"{CLOSED}: {_DISCONNECT_CODES.get(code, f'reason code 0x{code:02x}')}" if code else CLOSED


def unexpected(what: str) -> str:
    """A packet that is well formed, and that the broker must not send now."""
    return f"the broker sent an unexpected {what}"


def hangs(seconds: float) -> str:
    """The program has not said in time that it is alive."""
    return f"the event loop has not run for {seconds:g} s"


def of_error(error: BaseException) -> ConnectFailure:
    """The operating system's and the TLS library's errors."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectFailure(f"certificate not accepted: {error.verify_message}", permanent=True)
    if isinstance(error, ssl.SSLError):
        return ConnectFailure(f"TLS handshake failed: {error.reason or error}")
    if isinstance(error, socket.gaierror):
        return ConnectFailure("name resolution failed")
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailure("connection refused")
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return ConnectFailure("connection reset by the broker")
    if isinstance(error, TimeoutError):
        return ConnectFailure(TIMED_OUT)
    if isinstance(error, OSError):
        return ConnectFailure(_ERRNOS.get(error.errno or 0) or error.strerror or str(error))
    # Options that the library refuses, or no library.
    permanent = isinstance(error, (ValueError, TypeError, ImportError))
    return ConnectFailure(str(error) or type(error).__name__, permanent=permanent)
