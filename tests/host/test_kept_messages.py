"""What a callback does with a message, keeps of it or changes in it, never shows in another one."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import random
import sys
import weakref
from functools import partial
from typing import Any

import pytest

import wire
from waiting import eventually

STATES = ("PENDING", "RUNNING", "COMPLETED", "FAILED")


def event(number: int) -> dict[str, Any]:
    return {
        "v": "1.0",
        "ts": f"2025-03-14T15:09:{number % 60:02}.535897+00:00",
        "source": "worker-07" if number % 400 < 390 else f"wörker-{number}",
        "seq": number,
        "body": {"task": f"t-{number}", "state": STATES[number % 4], "ms": number / 8, "tags": {}, "error": None},
        "last": f"{number % 10_000:04}",
    }


class Hoarder:
    """Does with each message one thing that a program may do, having seen that it is the right one."""

    def __init__(self, seed: int) -> None:
        self.seen = 0
        self.wrong: list[Any] = []
        self.kept: list[tuple[Any, Any]] = []
        self.counted: dict[Any, int] = {}
        self._chance = random.Random(seed)
        self._deeds = [getattr(self, name) for name in dir(self) if name.startswith("do_")]

    def __call__(self, topic: str, payload: dict[str, Any]) -> None:
        expected = event(self.seen)
        if repr(payload) != repr(expected):
            self.wrong.append((payload, expected))
        self.seen += 1
        if self._chance.random() < 0.5:
            self._chance.choice(self._deeds)(payload)

    async def suspending(self, topic: str, payload: dict[str, Any]) -> None:
        self(topic, payload)
        if self._chance.random() < 0.1:
            before = copy.deepcopy(payload)
            await asyncio.sleep(0)
            self.keep(payload, before)

    def keep(self, what: Any, as_it_is: Any = None) -> None:
        self.kept.append((what, copy.deepcopy(what) if as_it_is is None else as_it_is))

    def do_keep_all(self, payload: dict[str, Any]) -> None:
        self.keep(payload)

    def do_keep_what_lies_within(self, payload: dict[str, Any]) -> None:
        self.keep(payload["body"])

    def do_keep_values(self, payload: dict[str, Any]) -> None:
        self.keep([payload["ts"], payload["body"]["ms"], payload["body"]["state"], payload["last"]])

    def do_keep_an_iterator(self, payload: dict[str, Any]) -> None:
        self.kept.append((iter(payload.items()), None))

    def do_count(self, payload: dict[str, Any]) -> None:
        self.counted[payload["last"]] = self.counted.get(payload["last"], 0) + 1
        hash(payload["ts"])

    def do_intern(self, payload: dict[str, Any]) -> None:
        sys.intern(payload["last"])
        setattr(self, f"state_{payload['body']['state']}", sys.intern(payload["ts"]))

    def do_change(self, payload: dict[str, Any]) -> None:
        payload["v"] = payload["body"]["error"] = "changed"

    def do_change_the_last(self, payload: dict[str, Any]) -> None:
        del payload["last"]
        payload["last"] = "mine" + str(self.seen % 7)

    def do_change_the_order(self, payload: dict[str, Any]) -> None:
        payload["v"] = payload.pop("v")

    def do_add(self, payload: dict[str, Any]) -> None:
        payload["body"]["tags"]["mine"] = 1

    def do_replace(self, payload: dict[str, Any]) -> None:
        payload["body"] = [payload["body"]]

    def do_replace_by_its_like(self, payload: dict[str, Any]) -> None:
        payload["body"] = dict(payload["body"], task="mine")

    def do_empty(self, payload: dict[str, Any]) -> None:
        payload["body"].clear()
        payload.clear()

    def do_collect(self, payload: dict[str, Any]) -> None:
        gc.collect(0)


@pytest.mark.parametrize("kind", ["plain", "suspending"])
@pytest.mark.parametrize("seed", range(3))
async def test_messages_are_what_was_sent(connected, peer, seed, kind):
    hoarder = Hoarder(seed)
    connector = await connected(peer)
    await connector.subscribe("a", hoarder if kind == "plain" else hoarder.suspending)
    peer.send(b"".join(wire.publish("a", json.dumps(event(number)).encode()) for number in range(3_000)))
    await eventually(lambda: hoarder.seen == 3_000)
    assert hoarder.wrong == []
    assert [(what, as_it_was) for what, as_it_was in hoarder.kept if as_it_was is not None and what != as_it_was] == []
    # A key that was written over would not be found.
    assert [key for key in list(hoarder.counted) if key not in hoarder.counted] == []


async def test_what_was_put_into_a_message_is_let_go_with_it(connected, peer):
    """At once, and where it makes a cycle by the garbage collector."""

    class Mine:
        pass

    at_once: list[weakref.ref[Mine]] = []
    in_cycles: list[weakref.ref[Mine]] = []

    def callback(topic: str, payload: dict[str, Any]) -> None:
        mine = payload["mine"] = Mine()
        refs = at_once
        if payload["seq"] % 2:
            payload["body"]["whole"] = payload
            refs = in_cycles
        refs.append(weakref.ref(mine))

    connector = await connected(peer)
    await connector.subscribe("a", callback)
    peer.send(b"".join(wire.publish("a", json.dumps(event(number)).encode()) for number in range(100)))
    await eventually(lambda: len(at_once) == len(in_cycles) == 50)
    assert [ref for ref in at_once if ref() is not None] == []
    gc.collect()
    assert [ref for ref in in_cycles if ref() is not None] == []


def len_reaches(items: list[bool], count: int) -> bool:
    return len(items) == count


async def test_a_message_that_is_free_is_found_by_nobody(connected, peer):
    """Not by the garbage collector's lists either, through which a debugger could change it."""
    here = "found by nobody"
    right: list[bool] = []

    def spoil(spared: object = None) -> None:
        for found in gc.get_objects():
            if type(found) is dict and found.get("run") == here and found is not spared:
                found.clear()

    def callback(topic: str, payload: dict[str, Any]) -> None:
        right.append(payload == {**event(len(right)), "run": here})
        if len(right) % 7 == 0:
            spoil(payload)

    connector = await connected(peer)
    await connector.subscribe("a", callback)
    for burst in range(1, 20):
        numbers = range(burst * 20 - 20, burst * 20)
        peer.send(b"".join(wire.publish("a", json.dumps({**event(n), "run": here}).encode()) for n in numbers))
        await eventually(partial(len_reaches, right, burst * 20))
        # The callback has let go of all of them.
        spoil()
    assert all(right)
