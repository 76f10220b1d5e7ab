"""Bytes that no broker should send, and some that look as if none should; tables of data, no code."""

from __future__ import annotations

from corpus import answers, connecting, exactly_once, framing, payloads, properties, publishing, vectors
from corpus.entry import Entry

ENTRIES: list[Entry] = [
    *framing.ENTRIES,
    *publishing.ENTRIES,
    *answers.ENTRIES,
    *connecting.ENTRIES,
    *exactly_once.ENTRIES,
    *payloads.ENTRIES,
    *properties.ENTRIES,
    *vectors.ENTRIES,
]
