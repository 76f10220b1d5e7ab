"""What this package wants to reach, as ratios within one run wherever that can be, and what the run has found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .report import RATE, Report

__all__ = ["GOALS", "Goal"]

Measured = Callable[[Report], float | None]


@dataclass(frozen=True)
class Goal:
    """A bound on one figure; ``unit`` is set behind it."""

    what: str
    bound: str
    """``>=`` or ``<=``."""
    wanted: float
    unit: str
    measured: Measured

    def met(self, value: float) -> bool:
        return value >= self.wanted if self.bound == ">=" else value <= self.wanted


def _figure(group: str, heading: str = RATE, client: str = "native", case: str = "") -> Measured:
    return lambda report: report.figure(group, client, case, heading)


def _ratio(upper: Measured, lower: Measured) -> Measured:
    def measured(report: Report) -> float | None:
        over, under = upper(report), lower(report)
        return over / under if over is not None and under else None

    return measured


def _best_python_peer(group: str) -> Measured:
    def measured(report: Report) -> float | None:
        rates = [row.figures[RATE] for row in report.peers(group) if not row.client.startswith("rumqttc")]
        return max(rates, default=None)

    return measured


def _than(peer: str) -> str:
    """With the JSON that it was measured with."""
    return f"x {peer.replace(' + ', ', ')}"


def _publishing() -> Iterator[Goal]:
    ours = _figure("publish_nowait")
    for call, group, wanted in (("publish_nowait", "publish_nowait", 0.9), ("await publish", "await_publish", 1.25)):
        yield Goal(f"`{call}` call, CPU", "<=", wanted, "x `orjson.dumps`", _figure(group, "CPU x dumps"))
        yield Goal("the same by the clock, far end at work", "<=", wanted, "x", _figure(group, "call x dumps"))
    yield Goal("QoS 0, dict to the far end", ">=", 3_000_000, "/s", ours)
    yield Goal("the same", ">=", 0.6, "x packets made beforehand", _figure("publish_nowait", "x raw socket"))
    for peer, wanted in (("mqttium + json", 35), ("aiomqtt + json", 200), ("rumqttc loop + ours", 5)):
        yield Goal("the same", ">=", wanted, _than(peer), _ratio(ours, _figure("publish_nowait", client=peer)))
    for of in ("", ", 100 B", ", 4 KB", ", 64 KB"):
        four, one = (_figure("many", case=f"{threads}{of}") for threads in ("4 threads", "1 thread"))
        yield Goal(f"4 threads on one connector{of}", ">=", 1, "x one thread", _ratio(four, one))
    for size in ("4 KB", "64 KB"):
        yield Goal(f"QoS 0, events of {size}", ">=", 1_500, "MB/s", _figure("publish_nowait", "MB/s", case=size))
    acked, loop = _figure("qos1_acked"), "rumqttc loop + ours"
    yield Goal("QoS 1, acknowledged", ">=", 2_500_000, "/s", acked)
    yield Goal("the same", ">=", 45, "x the best Python peer", _ratio(acked, _best_python_peer("qos1_acked")))
    yield Goal("the same", ">=", 5, _than(loop), _ratio(acked, _figure("qos1_acked", client=loop)))
    yield Goal("QoS 2, completed, window raised", ">=", 500_000, "/s", _figure("qos2_completed"))


def _receiving() -> Iterator[Goal]:
    ours, peer = _figure("receive_qos0", case="async def"), "gmqtt + json"
    yield Goal("QoS 0 received, `async def`", ">=", 1_000_000, "/s", ours)
    yield Goal("the same", ">=", 12, _than(peer), _ratio(ours, _figure("receive_qos0", client=peer)))
    yield Goal("the same", ">=", 1.4, "x `orjson.loads`", _figure("receive_qos0", "x orjson.loads", case="async def"))
    yield Goal("the same, `def`", ">=", 1, "x `async def`", _ratio(_figure("receive_qos0", case="def"), ours))
    yield Goal("QoS 1 received", ">=", 0.8, "x QoS 0", _ratio(_figure("receive_qos1", case="async def"), ours))


def _staying_out_of_the_way() -> Iterator[Goal]:
    busy = "100,000 events/s"
    yield Goal(f"lag of the loop, p99, at {busy}", "<=", 1, "ms", _figure("loop_lag", "p99 ms", case=busy))
    yield Goal("CPU of the process at that", "<=", 30, "% of a core", _figure("loop_lag", "% of a core", case=busy))
    yield Goal("control latency, idle, p50", "<=", 0.15, "ms", _figure("control_latency", "p50 ms", case="idle"))
    yield Goal(
        f"control latency under {busy}, p99", "<=", 5, "ms", _figure("control_latency", "p99 ms", case=f"under {busy}")
    )
    idle = "1,000 idle connectors"
    yield Goal(f"{idle}, memory", "<=", 100, "KiB each", _figure("many", "KiB each", case=idle))
    yield Goal(f"{idle}, threads", "<=", 1, "in all", _figure("many", "threads in all", case=idle))
    yield Goal(
        "`import cascade.connectors.mqtt`", "<=", 15, "ms beyond asyncio", _figure("import", "ms beyond asyncio")
    )
    yield Goal("clients and TLS that it imports", "<=", 0, "modules", _figure("import", "too early"))


def _batches() -> Iterator[Goal]:
    for qos in (0, 1):
        batched, single = (_figure("batch", case=f"QoS {qos}, {how}") for how in ("batched", "unbatched"))
        yield Goal(f"through mosquitto, QoS {qos}, batched", ">=", 5, "x unbatched", _ratio(batched, single))
        yield Goal("the same", ">=", 700_000, "/s", batched)
    wire = _figure("batch", "zstd batches, % of unbatched", case="bytes on the wire")
    yield Goal("bytes of a recorded workflow, zstd batches", "<=", 15, "% of unbatched", wire)


def _fallback() -> Iterator[Goal]:
    peer = "aiomqtt + json"
    for group, case, wanted in (("publish_nowait", "", 2), ("qos1_acked", "", 1), ("receive_qos0", "async def", 1)):
        ours, theirs = _figure(group, client="python", case=case), _figure(group, client=peer)
        yield Goal(f"the fallback, `{group}`", ">=", wanted, _than(peer), _ratio(ours, theirs))


GOALS = [*_publishing(), *_receiving(), *_staying_out_of_the_way(), *_batches(), *_fallback()]
