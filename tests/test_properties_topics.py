"""Names, filters and ids beside the words of the specification (MQTT 3.1.1 section 4.7), level by level."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cascade.connectors.mqtt.errors import TopicError
from cascade.connectors.mqtt.topics import check_filter, check_name, decode_id, encode_id, matches

LEVEL = st.one_of(st.sampled_from(["", "a", "é", "aa", "$a", "$SYS", "$share"]), st.text("aé+#/$\0", max_size=3))
WILDCARD = st.sampled_from(["+", "#"])


def levels(level: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(level, min_size=1, max_size=5).map("/".join)


def broken(text: str) -> bool:
    return not text or len(text.encode()) > 65_535 or "\0" in text


def refused(check: object, text: str) -> bool:
    try:
        check(text)  # type: ignore[operator]
    except TopicError:
        return True
    return False


@given(levels(LEVEL))
def test_a_name_is_any_text_without_wildcards(topic: str) -> None:
    assert refused(check_name, topic) is (broken(topic) or bool(set(topic) & {"+", "#"}))


@given(levels(LEVEL | WILDCARD))
def test_a_wildcard_fills_its_level_and_a_hash_is_the_last(topic_filter: str) -> None:
    whole = re.fullmatch(r"(([^+#/]*|\+)/)*([^+#/]*|\+|#)", topic_filter, re.DOTALL)
    assert refused(check_filter, topic_filter) is (broken(topic_filter) or whole is None)


def by_levels(topic_filter: str, topic: str) -> bool:
    wanted, found = topic_filter.split("/"), topic.split("/")
    # A shared subscription needs a filter behind its group (MQTT 5.0 section 4.8.2).
    if wanted[0] == "$share" and wanted[2:] not in ([], [""]):
        del wanted[:2]
    if found[0].startswith("$") and wanted[0] in ("+", "#"):
        return False
    if wanted[-1] == "#":
        wanted.pop()
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(one in ("+", level) for one, level in zip(wanted, found, strict=True))


@given(levels(LEVEL | WILDCARD), levels(LEVEL))
def test_matching_is_what_the_levels_say(topic_filter: str, topic: str) -> None:
    if not refused(check_filter, topic_filter) and not refused(check_name, topic):
        assert matches(topic_filter, topic) is by_levels(topic_filter, topic)


@given(levels(LEVEL), st.data())
def test_a_topic_with_levels_replaced_matches_itself(topic: str, data: st.DataObject) -> None:
    found = topic.split("/")
    kept = data.draw(st.integers(0, len(found)))
    wanted = [data.draw(st.sampled_from([level, "+"])) for level in found[:kept]] + ["#"] * (kept < len(found))
    topic_filter = "/".join(wanted)
    if not refused(check_name, topic) and not topic.startswith("$"):
        assert matches(topic_filter, topic)


@given(st.text(st.characters(exclude_categories=[])))
def test_an_id_comes_back_from_its_level(name: str) -> None:
    assert decode_id(encode_id(name)) == re.sub("[\ud800-\udfff]", "\ufffd", name)
