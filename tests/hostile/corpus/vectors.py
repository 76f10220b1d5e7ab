"""The packets of vectors/packets.json, which `cargo test` parses too, as a broker sends them."""

from __future__ import annotations

import json
from pathlib import Path

from corpus.entry import Entry, packet, table

_ALL = json.loads((Path(__file__).parents[2] / "vectors" / "packets.json").read_text("utf-8"))["incoming"]


def _message(case: dict) -> list[Entry]:
    expect = case["expect"]
    identifier = expect["packet_id"].to_bytes(2, "big")
    answers = {0: ("ignore", b""), 1: ("answer", packet(0x40, identifier)), 2: ("answer", packet(0x50, identifier))}
    outcome, answer = answers[expect["qos"]]
    return table(
        outcome, "idle", [(f"vector: {case['name']}", case["hex"], case["section"], None)],
        answer=answer, delivers=((expect["topic"], bytes.fromhex(expect["payload"])),),
    )  # fmt: skip


ENTRIES: list[Entry] = [
    *(
        entry
        for case in _ALL
        if case["expect"] == "malformed"
        for entry in table("close", "idle", [(f"vector: {case['name']}", case["hex"], case["section"], None)])
    ),
    *(entry for case in _ALL if "topic" in case["expect"] for entry in _message(case)),
]
