"""The arithmetic of the benchmarks' report, and of the gate on instructions."""

from __future__ import annotations

import pytest
from benches.callgrind import Counts, count
from benches.goals import GOALS
from benches.instructions import judge
from benches.percentiles import percentiles
from benches.plot import plot
from benches.report import RATE, Report, Row
from benches.tables import cells, number

PROFILE = """\
events: Ir
ob=/lib/core.so
fl=???
fn=publish
0 70
cob=/usr/bin/python
cfn=PyDict_Next
calls=13 0
0 900
calls=2 0
0 40
fn=encode
0 30
ob=/usr/bin/python
fn=PyDict_Next
0 900
cob=/lib/core.so
cfn=publish
calls=1 0
0 170
ob=/lib/core.so
fn=encode
+3 5

totals: 1175
"""


def report(*rows: tuple[str, str, dict[str, float]]) -> Report:
    return Report([Row(group="publish_nowait", client=client, case=case, figures=f) for client, case, f in rows])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2_026_431.5, "2,030,000"),
        (1_234, "1,234"),
        (999.6, "1,000"),
        (123.4, "123"),
        (12.34, "12.3"),
        (0.9, "0.90"),
        (0.052, "0.052"),
        (0.0, "0.00"),
    ],
)
def test_three_digits(value, shown):
    assert number(value) == shown


def test_native_is_compared_with_each_like_with_like():
    found = report(
        ("native", "", {RATE: 1_000.0}),
        ("gmqtt + json", "", {RATE: 50.0}),
        ("native", "4 KB", {RATE: 90.0}),
        ("python", "4 KB", {RATE: 30.0}),
    )
    _, lines = cells(found, "publish_nowait")
    assert [(line[0], line[1]) for line in lines] == [
        ("native", ""), ("gmqtt + json", "20.0 x"), ("native, 4 KB", ""), ("python, 4 KB", "3.00 x"),
    ]  # fmt: skip


def test_of_times_the_lower_is_better():
    found = report(("native", "", {"p50 us": 50.0}), ("python", "", {"p50 us": 200.0}))
    assert cells(found, "publish_nowait")[1][1][1] == "4.00 x"


def test_a_goal_is_met_on_its_side_of_the_bound_and_silent_about_what_was_not_measured():
    call, peer = (next(goal for goal in GOALS if goal.unit == unit) for unit in ("x `orjson.dumps`", "x mqttium, json"))
    found = report(("native", "", {RATE: 3_500.0, "CPU x dumps": 0.8}), ("mqttium + json", "", {RATE: 100.0}))
    assert call.met(call.measured(found))
    assert peer.measured(found) == 35
    assert peer.met(35)
    assert not peer.met(34.9)
    assert peer.measured(Report()) is None


def test_percentiles_are_ranks():
    durations = [number / 1000 for number in range(1, 101)]
    assert percentiles(durations, "ms", 50, 99, 100) == {"p50 ms": 51, "p99 ms": 100, "longest ms": 100}


def test_a_profile_is_summed_for_one_object_and_so_are_its_calls_out():
    assert count(PROFILE.splitlines(), "/lib/core.so") == Counts(105, 13)


def test_the_gate_shuts_above_five_per_cent():
    assert judge(104.9, 100).startswith("as committed")
    assert judge(105.1, 100).startswith("over")
    assert judge(94, 100).startswith("better")
    assert judge(94, None).startswith("no committed figure")


def test_the_plot_escapes_what_it_shows_and_is_empty_without_rates():
    assert "a&lt;b" in plot(report(("native", "", {RATE: 2.0}), ("a<b", "", {RATE: 1.0})))
    assert plot(Report()) == ""
