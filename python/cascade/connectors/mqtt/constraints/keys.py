"""The keys of signed control: one in hand, or a file of them that may change while programs run."""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["KeyFile", "SigningKey"]

_LEAST_BYTES = 16
_SECRET_BYTES = 32
_OTHERS = 0o077

_logger = logging.getLogger("cascade.connectors.mqtt")


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """One key of HMAC-SHA-256 (RFC 2104), shared by those who steer and those who obey.

    Args:
        id: the name that messages call it by; no secret.
        secret: at least 16 bytes; 32 random ones are right.
    """

    id: str
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.id or self.id != "".join(self.id.split()) or self.id.startswith("#"):
            raise ValueError("id of a signing key must be one word that does not begin with #")
        if len(self.secret) < _LEAST_BYTES:
            raise ValueError(f"secret of signing key {self.id!r} must be at least {_LEAST_BYTES} bytes")

    @classmethod
    def generate(cls, id: str) -> SigningKey:
        """A new random key."""
        return cls(id=id, secret=secrets.token_bytes(_SECRET_BYTES))

    @property
    def line(self) -> str:
        """The key as a line of a key file. It holds the secret."""
        return f"{self.id} {self.secret.hex()}"


class KeyFile:
    """Keys from a file: a line ``id secret-in-hexadecimal`` each, ``#`` begins a comment.

    The first one signs, all verify. The file is read again when it has changed, so keys are rotated in three steps:
    append the new one to the file of each reader, put it first in the files of the controllers, remove the old one.
    A change that cannot be read is logged once, and the keys before it stay.

    Called with a key's id it returns the secret or None, as ``verify=`` of a reader wants it.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no key; the message names the line, never the secret.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._complained = False
        self._seen = self._version()
        self._keys = self._read()
        if self._path.stat().st_mode & _OTHERS and os.name == "posix":
            _logger.warning("the key file %s can be read by other users: chmod 600 it", self._path)

    def __call__(self, key_id: str) -> bytes | None:
        key = self._current().get(key_id)
        return None if key is None else key.secret

    def signing(self) -> SigningKey:
        """The key to sign with: the first of the file."""
        return next(iter(self._current().values()))

    def _current(self) -> dict[str, SigningKey]:
        try:
            version = self._version()
            if version != self._seen:
                self._seen = version
                self._keys = self._read()
            self._complained = False
        except (OSError, ValueError) as error:
            if not self._complained:
                _logger.warning("the signing keys from before the change stay in use: %s", error)
            self._complained = True
        return self._keys

    def _version(self) -> tuple[int, ...]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> dict[str, SigningKey]:
        keys: dict[str, SigningKey] = {}
        for number, line in enumerate(self._path.read_text("utf-8").splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                name, secret = words
                keys.setdefault(name, SigningKey(id=name, secret=bytes.fromhex(secret)))
            except ValueError:
                raise ValueError(
                    f"{self._path}, line {number}: a key is an id and at least {_LEAST_BYTES} bytes in hexadecimal"
                ) from None
        if not keys:
            raise ValueError(f"{self._path} holds no key")
        return keys

    def __repr__(self) -> str:
        return f"<KeyFile {str(self._path)!r}>"
