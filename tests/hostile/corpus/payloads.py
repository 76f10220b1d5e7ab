"""Payloads that are not JSON, or JSON that nobody would write: RFC 8259, and the limits of docs/wire.md."""

from __future__ import annotations

from typing import Any

from corpus.entry import Entry, publish, table

_DEEP = 100_000


def _nested(depth: int) -> Any:
    return 1 if not depth else [_nested(depth - 1)]


def _payloads(rows: list[tuple[Any, ...]], **common: Any) -> list[Entry]:
    """Rows ``(name, payload, section of RFC 8259 or of MQTT 3.1.1[, value])``."""
    return [
        entry
        for name, payload, section, *value in rows
        for entry in table(
            "ignore", "idle", [(f"payload: {name}", publish("t", payload), section, None)],
            decode="json", delivers=tuple(("t", each) for each in value), **common,
        )
    ]  # fmt: skip


ENTRIES: list[Entry] = [
    *_payloads([
        ("a word", b"hello", "RFC 8259 3"),
        ("a space", b" ", "RFC 8259 2"),
        ("U+0000", b"\0", "RFC 8259 2"),
        ("a thousand NULs", bytes(1_000), "RFC 8259 2"),
        ("an open brace", b"{", "RFC 8259 4"),
        ("an open string", b'"abc', "RFC 8259 7"),
        ("an open escape", b'"\\', "RFC 8259 7"),
        ("half an escape", b'"\\u12', "RFC 8259 7"),
        ("a raw newline in a string", b'"a\nb"', "RFC 8259 7"),
        ("NaN", b"NaN", "RFC 8259 6"),
        ("NaN in an array", b"[1, NaN]", "RFC 8259 6"),
        ("infinity", b"Infinity", "RFC 8259 6"),
        ("minus infinity in an object", b'{"a": -Infinity}', "RFC 8259 6"),
        ("single quotes", b"{'a': 1}", "RFC 8259 7"),
        ("a comma too many", b"[1, 2,]", "RFC 8259 5"),
        ("two values", b"{} {}", "RFC 8259 2"),
        ("a value and a NUL", b"{}\0", "RFC 8259 2"),
        ("a comment", b"{} // ok", "RFC 8259 2"),
        ("a byte order mark", b"\xef\xbb\xbf{}", "RFC 8259 8.1"),
        ("an octal number", b"010", "RFC 8259 6"),
        ("a hexadecimal number", b"0x10", "RFC 8259 6"),
        ("an integer of 10,000 digits", b"9" * 10_000, "RFC 8259 9"),
        ("a negative integer of 10,000 digits", b"[-" + b"9" * 10_000 + b"]", "RFC 8259 9"),
        ("an integer of a million digits", b"1" * 1_000_000, "RFC 8259 9"),
        ("a high surrogate alone", b'"\\ud800"', "RFC 8259 8.2"),
        ("a low surrogate alone", b'{"a": "\\udfff"}', "RFC 8259 8.2"),
        ("surrogates the wrong way round", b'["\\udc00\\ud800"]', "RFC 8259 8.2"),
        ("a surrogate in a key", b'{"\\ud800": 1}', "RFC 8259 8.2"),
        ("XML", b"<?xml version='1.0'?><a/>", "RFC 8259 3"),
        ("pickle", b"cos\nsystem\n(S'true'\ntR.", "RFC 8259 3"),
    ], counts={"not_json": 1}),
    *_payloads([
        ("FF FE", b"\xff\xfe", "RFC 8259 8.1"),
        ("UTF-16", '{"a": "é"}'.encode("utf-16"), "RFC 8259 8.1"),
        ("Latin-1", '{"a": "é"}'.encode("latin-1"), "RFC 8259 8.1"),
        ("an overlong NUL in a string", b'"\xc0\x80"', "RFC 8259 8.1"),
        ("a surrogate in a string", b'"\xed\xa0\x80"', "RFC 8259 8.1"),
        ("CESU-8 in a string", b'"\xed\xa0\xbd\xed\xb8\x80"', "RFC 8259 8.1"),
        ("a sequence cut off at the end", b'"\xe2\x82', "RFC 8259 8.1"),
        ("gzip", bytes.fromhex("1f8b0800000000000003abae0500432fc90002000000"), "RFC 8259 8.1"),
    ], counts={"not_utf8": 1}),
    *_payloads([
        ("129 arrays", b"[" * 129 + b"]" * 129, "RFC 8259 9"),
        ("100,000 arrays", b"[" * _DEEP + b"]" * _DEEP, "RFC 8259 9"),
        ("100,000 arrays that are not closed", b"[" * _DEEP, "RFC 8259 9"),
        ("100,000 objects", b'{"a":' * _DEEP + b"1" + b"}" * _DEEP, "RFC 8259 9"),
        ("100,000 objects that are not closed", b'{"a":' * _DEEP, "RFC 8259 9"),
        ("arrays and objects in turn", b'[{"a":' * _DEEP, "RFC 8259 9"),
    ], counts={"too_deep": 1}),
    *_payloads([
        ("nothing", b"", "3.3.3", {}),
        ("null", b"null", "RFC 8259 3", None),
        ("128 arrays", b"[" * 127 + b"[1]" + b"]" * 127, "RFC 8259 9", _nested(128)),
        ("100,000 brackets in a string", b'"' + b"[" * _DEEP + b'"', "RFC 8259 9", "[" * _DEEP),
        ("100,000 arrays in a row", b"[" + b"[]," * _DEEP + b"0]", "RFC 8259 9", [*([[]] * _DEEP), 0]),
        ("keys that come twice", b'{"a": 1, "a": 2, "a": 3}', "RFC 8259 4", {"a": 3}),
        ("a key that comes 10,000 times", b"{" + b'"a":1,' * 9_999 + b'"a":2}', "RFC 8259 4", {"a": 2}),
        ("the empty key", b'{"": 1}', "RFC 8259 4", {"": 1}),
        ("keys of Python", b'{"__class__": 1, "__proto__": 2}', "RFC 8259 4", {"__class__": 1, "__proto__": 2}),
        ("an escaped NUL", b'"\\u0000"', "RFC 8259 7", "\0"),
        ("an escaped pair of surrogates", b'"\\ud83d\\ude00"', "RFC 8259 7", "\U0001f600"),
        ("beyond the largest float", b"[1e999, -1e999]", "RFC 8259 6", [float("inf"), float("-inf")]),
        ("a float of 10,000 digits", b"0." + b"3" * 10_000, "RFC 8259 6", 0.3333333333333333),
        ("a float with an exponent of 1,000 digits", b"1e-" + b"9" * 1_000, "RFC 8259 6", 0.0),
        ("an integer of 4,300 digits", b"9" * 4_300, "RFC 8259 9", int("9" * 4_300)),
        ("a string of 4 MB", b'"' + b"x" * 4_000_000 + b'"', "RFC 8259 9", "x" * 4_000_000),
        ("200,000 numbers", b"[" + b"0," * 199_999 + b"0]", "RFC 8259 9", [0] * 200_000),
        ("4 MB of spaces", b" " * 4_000_000 + b"1", "RFC 8259 2", 1),
    ]),
]  # fmt: skip
