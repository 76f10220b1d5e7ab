"""Topics: the vectors that `cargo test` reads too, and what only Python strings can hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.connectors.mqtt.errors import TopicError
from cascade.connectors.mqtt.topics import check_filter, check_name, encode_id, matches

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "vectors" / "topics.json").read_text("utf-8")
)


def cases(kind: str) -> pytest.MarkDecorator:
    ids = [ascii(" ".join(str(value)[:24] for value in case.values())) for case in VECTORS[kind]]
    return pytest.mark.parametrize("case", VECTORS[kind], ids=ids)


def refusal(check: Callable[[str], None], topic: str) -> str | None:
    try:
        check(topic)
    except TopicError as error:
        return str(error)
    return None


@cases("names")
def test_names_are_checked(case: dict[str, Any]) -> None:
    assert refusal(check_name, case["topic"] * case.get("times", 1)) == case["error"]


@cases("filters")
def test_filters_are_checked(case: dict[str, Any]) -> None:
    assert refusal(check_filter, case["topic"] * case.get("times", 1)) == case["error"]


@cases("matches")
def test_filters_match_topics(case: dict[str, Any]) -> None:
    assert matches(case["filter"], case["topic"]) is case["matches"]


@cases("ids")
def test_ids_become_one_level(case: dict[str, Any]) -> None:
    assert encode_id(case["id"]) == case["level"]


@pytest.mark.parametrize("check", [check_name, check_filter])
def test_what_only_python_can_pass_is_refused(check: Callable[[Any], None]) -> None:
    assert refusal(check, "a/\ud800") == "a topic must not hold lone surrogates (MQTT 3.1.1 section 1.5.3)"
    assert refusal(check, b"a") == "a topic must be a str, not bytes"  # type: ignore[arg-type]
    assert refusal(check, None) == "a topic must be a str, not NoneType"  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=[]), min_size=1, max_size=20))
def test_any_id_is_one_level_of_a_valid_topic(name: str) -> None:
    level = encode_id(name)
    check_name(level)
    assert "/" not in level
    assert not level.startswith("@")


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_ids_never_share_a_level(one: str, other: str) -> None:
    assert (encode_id(one) == encode_id(other)) is (one == other)
