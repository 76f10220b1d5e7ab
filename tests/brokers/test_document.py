"""docs/brokers.md is complete: each trap has a test, a broker that it was seen on, and what is done about it."""

from __future__ import annotations

from pathlib import Path

from measured import DOCUMENT, VERSIONS

from documents import names_of_tests, quoted, table

TOP = Path(__file__).parents[2]
TRAPS = table(DOCUMENT, "| trap |")


def test_each_trap_names_what_shows_it():
    for trap, *_, shown in TRAPS:
        witnesses = [witness.partition("::") for witness in quoted(shown)]
        assert witnesses, trap
        for file, _, test in witnesses:
            assert test in names_of_tests(TOP / file), trap


def test_each_trap_says_where_it_was_seen_and_what_is_done():
    for trap, seen, done, *_ in TRAPS:
        brokers = {part.split()[0].lower() for part in seen.split(", ")}
        assert brokers <= {*VERSIONS, "imitated"}, trap
        assert done, trap
