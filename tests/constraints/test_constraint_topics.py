"""Topics of constraints: what is published where, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.connectors.mqtt.constraints.topics import (
    Place,
    own_topics,
    place,
    scope_topic,
    scope_topics,
    typed_key,
    typed_topic,
)
from cascade.connectors.mqtt.topics import check_name


@pytest.mark.parametrize(
    ("scope", "topics"),
    [
        ("global", ["cascade/constraints/global"]),
        ("task:load_*", ["cascade/constraints/task/load_*"]),
        ("task:etl:load", ["cascade/constraints/task/etl/load"]),
        ("project:a/b", ["cascade/constraints/project/a%2Fb", "cascade/constraints/project/a/b"]),
        ("run:100%", ["cascade/constraints/run/100%25", "cascade/constraints/run/100%"]),
        ("task:@x", ["cascade/constraints/task/%40x", "cascade/constraints/task/@x"]),
        ("task:a+b#", ["cascade/constraints/task/a%2Bb%23"]),
    ],
)
def test_a_scope_has_a_topic_and_where_it_differs_the_one_of_older_controllers(scope, topics):
    assert scope_topics(scope) == topics
    assert place(topics[0]) == Place(scope, None)


@pytest.mark.parametrize(
    ("topic", "wanted"),
    [
        ("cascade/constraints/global/@pause", Place("global", "pause")),
        ("cascade/constraints/task/a%2Fb/@rate_limit", Place("task:a/b", "rate_limit")),
        ("cascade/constraints/task/a/b", Place("task:a:b", None)),
        ("cascade/constraints/task/@x", Place("task:@x", None)),
        ("cascade/constraints/@x", Place("@x", None)),
    ],
)
def test_what_an_empty_message_speaks_of(topic, wanted):
    assert place(topic) == wanted


scopes = st.one_of(
    st.just("global"),
    st.builds("{}:{}".format, st.sampled_from(["task", "project", "source", "run"]), st.text(min_size=1, max_size=12)),
)


@given(scopes, st.text(min_size=1, max_size=12))
def test_every_scope_and_type_has_a_topic_that_leads_back(scope, kind):
    for topic in (*scope_topics(scope), typed_topic(scope, kind)):
        check_name(topic)
    assert place(scope_topic(scope)) == Place(scope, None)
    assert place(typed_topic(scope, kind)) == Place(scope, kind)
    assert "/" not in typed_key(scope, kind)


def test_topics_by_name():
    assert own_topics(["global"]) == [
        "cascade/constraints/global",
        "cascade/constraints/global/@pause",
        "cascade/constraints/global/@concurrency",
        "cascade/constraints/global/@rate_limit",
        "cascade/constraints/global/@capacity",
    ]
