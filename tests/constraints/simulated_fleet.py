"""Controllers and readers of both forms around a broker that is a dict: what each of them would have in force."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cascade.connectors.mqtt.constraints.constraint import GlobalConstraint
from cascade.connectors.mqtt.constraints.plain_commands import PlainCommands, renewed
from cascade.connectors.mqtt.constraints.reading import read
from cascade.connectors.mqtt.constraints.retained_board import RetainedBoard
from cascade.connectors.mqtt.constraints.signing import Refusal

State = dict[tuple[str, str], Any]
"""Scope and type, and the params in force."""

A_WHILE_S = 5.0
"""Longer than anybody waits for what a controller publishes next."""


class SimulatedBroker:
    """Keeps what is retained, hands on what is published; ``now`` is everybody's clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.retained: dict[str, dict[str, Any]] = {}
        self.listeners: list[Any] = []

    def publish(self, topic: str, payload: dict[str, Any] | None) -> None:
        if payload is None:
            self.retained.pop(topic, None)
        else:
            self.retained[topic] = payload
        for listener in list(self.listeners):
            listener.get(topic, payload or {})

    def pass_time(self) -> None:
        self.now += A_WHILE_S


class Reader:
    """A process with a ``RetainedBoard``, as ``ConstraintSync`` has one."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self.board = RetainedBoard()
        self.connect()
        self.complete()

    def connect(self, order: Any = list) -> None:
        """Subscribe; what is retained comes in some order. ``complete`` when it is through."""
        self.board.begin_round(self._broker.now)
        self._broker.listeners.append(self)
        for topic in order(list(self._broker.retained)):
            self.get(topic, self._broker.retained[topic])

    def complete(self) -> None:
        self.board.end_round(self._broker.now, complete=True)

    def disconnect(self) -> None:
        self._broker.listeners.remove(self)

    def get(self, topic: str, payload: dict[str, Any]) -> None:
        now = self._broker.now
        try:
            self.board.hear(read(topic, payload, None, now=now), now)
        except Refusal:
            self.board.disregard(topic)

    @property
    def state(self) -> State:
        now = self._broker.now
        self.board.settle(now)
        return {(one.scope, one.type): dict(one.params) for one in self.board.in_force(now)}


class OldReader:
    """As the engine before this package reads: every message is a constraint, an empty one lifts its topic's scope."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self.state: State = {}
        broker.listeners.append(self)

    def get(self, topic: str, payload: dict[str, Any]) -> None:
        if payload:
            self.state[payload["scope"], payload["type"]] = payload["params"]
        else:
            scope = ":".join(topic.split("/")[2:])
            self.state = {key: params for key, params in self.state.items() if key[0] != scope}


class OldController:
    """One topic a scope; a resume empties it."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def put(self, scope: str, kind: str, params: dict[str, Any]) -> None:
        payload = {"id": f"{kind}-{scope}", "scope": scope, "type": kind, "params": params, "expires_at": None}
        self._broker.publish(self._topic(scope), payload)

    def resume(self, scope: str) -> None:
        self._broker.publish(self._topic(scope), None)

    @staticmethod
    def _topic(scope: str) -> str:
        return f"cascade/constraints/{scope.replace(':', '/')}"


class NewController:
    """``ConstraintController`` without the network: each command reads, then publishes one message after another."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def put(self, scope: str, kind: str, params: dict[str, Any]) -> Iterable[None]:
        constraint = renewed(GlobalConstraint(f"{kind}-{scope}", scope, kind, params))
        return self._publish(self._read().put(scope, [constraint], self._broker.now))

    def resume(self, scope: str, kinds: list[str] | None) -> Iterable[None]:
        commands = self._read()
        lifted = commands.kinds(scope) if kinds is None else kinds
        return self._publish(commands.lift(scope, lifted, self._broker.now))

    def _publish(self, publications: Iterable[Any]) -> Iterable[None]:
        for topic, payload in publications:
            self._broker.publish(topic, payload)
            yield

    def _read(self) -> PlainCommands:
        commands, now = PlainCommands(), self._broker.now
        commands.board.begin_round(now)
        for topic, payload in self._broker.retained.items():
            commands.board.hear(read(topic, payload, None, now=now), now)
        commands.board.end_round(now, complete=True)
        commands.board.settle(float("inf"))
        return commands


def all_of(steps: Iterable[None]) -> None:
    """Carry a command out to its end."""
    for _ in steps:
        pass
