"""Steers a fleet: puts constraints on the broker and takes them away, so that readers old and new agree."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfirmationError, ConstraintError, SubscribeError
from .confirmations import Change, Confirmations
from .constraint import GlobalConstraint, finite
from .handlers import check_params
from .keys import KeyFile, SigningKey
from .plain_commands import PlainCommands, Publication, renewed
from .reading import read
from .rounds import Rounds
from .scopes import Scope
from .signed_commands import Pen, SignedCommands
from .signing import FindKey, Refusal
from .topics import ALL, own_topics, scope_topic

if TYPE_CHECKING:
    from ..connector import MqttConnector

__all__ = ["ConstraintController", "limit_params"]

# As controllers of the older form name them.
_IDS = {"rate_limit": "ratelimit"}
# The connection keeps the time of a SUBSCRIBE in milliseconds.
_ROUNDING_S = 0.01
_WEEK_S = 7 * 86_400.0


class ConstraintController:
    """Publishes constraints through a connector that is open. Each command returns when the broker has acknowledged.

    Args:
        connector: its options ``timeout`` bounds each command.
        sign: a key, or a file of keys whose first one signs: commands are signed, and none is empty.
        verify: called with a key's id, returns its secret or None: what it reads is obeyed only if it is signed;
            by default with the keys of ``sign``.
        signed_ttl: seconds after which a signed command lapses that has no end of its own.
        clock: returns Unix time in seconds; ``time.time`` by default.

    Each command but ``in_force`` raises:
        ConstraintError: what is asked for makes no sense; ``field`` names it.
        ConfirmationError: the broker has not answered; the command may have been carried out in part. Repeat it.
        SubscribeError: the broker does not let the controller read constraints.

    Two controllers that command one scope at the same moment may undo each other's limits; the next command of
    either is read by all alike.
    """

    def __init__(
        self,
        connector: MqttConnector,
        *,
        sign: SigningKey | KeyFile | None = None,
        verify: FindKey | None = None,
        signed_ttl: float = _WEEK_S,
        clock: Callable[[], float] | None = None,
    ) -> None:
        if not finite(signed_ttl) or signed_ttl < 1:
            raise ValueError(f"signed_ttl must be at least 1 second, not {signed_ttl!r}")
        self._connector = connector
        self._now = clock or time.time
        self._find_key = verify or _keys_of(sign)
        self._new_commands: Callable[[], PlainCommands | SignedCommands] = PlainCommands
        if sign is not None:
            self._new_commands = partial(SignedCommands, Pen(sign, signed_ttl))
        self._commanding = asyncio.Lock()

    async def pause(self, scope: str = "global", *, ttl: float | None = None) -> Change:
        """Let nothing of a scope start, for ``ttl`` seconds or until it is resumed."""
        return await self._put(scope, {"pause": {}}, ttl)

    async def limit(
        self,
        scope: str = "global",
        *,
        concurrency: int | None = None,
        rate: str | float | None = None,
        rate_capacity: float | None = None,
        capacity: Mapping[str, float] | None = None,
        ttl: float | None = None,
    ) -> Change:
        """Limit a scope, for ``ttl`` seconds or until it is lifted; limits of other types stay.

        Args:
            concurrency: so many tasks at once.
            rate: so many starts in a time: ``"10/m"``, ``"5/s"``, ``"300/h"``, or a number a second.
            rate_capacity: how many starts may come at once after a quiet time; by default one second's worth.
            capacity: so much of each resource: ``{"gpu": 2}``.
        """
        params = limit_params(concurrency=concurrency, rate=rate, rate_capacity=rate_capacity, capacity=capacity)
        return await self._put(scope, params, ttl)

    async def resume(self, scope: str = "global", *, types: Iterable[str] | None = ("pause",)) -> Change:
        """Lift types of constraints of a scope; None lifts all. Limits that remain stay in force.

        Readers of the older form see a short gap in these, see docs/wire.md.
        """
        Scope.parse(scope)
        if isinstance(types, str):
            raise ConstraintError(f"types must be a list of types, like [{types!r}]", field="types")
        async with self._commanding:
            commands = await self._read(scope)
            lifted = commands.kinds(scope) if types is None else list(types)
            await self._publish(commands.lift(scope, lifted, self._now()))
        return Change(scope=scope, lifted=tuple(lifted))

    async def in_force(self) -> list[GlobalConstraint]:
        """What the broker holds for readers who come now, by scope and type.

        Raises:
            ConfirmationError, SubscribeError: it does not tell.
        """
        commands = await self._read(None)
        return sorted(commands.board.in_force(self._now()), key=lambda one: (one.scope, one.type))

    def applied(self) -> Confirmations:
        """Who obeys: ``async with controller.applied() as applied:`` a command, then ``applied.wait(change, …)``."""
        return Confirmations(self._connector)

    async def _put(self, scope: str, params: Mapping[str, Mapping[str, Any]], ttl: float | None) -> Change:
        Scope.parse(scope)
        if ttl is not None and not (finite(ttl) and ttl > 0):
            raise ConstraintError(f"ttl must be more than 0 seconds, not {ttl!r}", field="ttl")
        expires_at = None if ttl is None else self._now() + ttl
        new = [
            renewed(GlobalConstraint(f"{_IDS.get(kind, kind)}-{scope}", scope, kind, given, expires_at))
            for kind, given in params.items()
        ]
        async with self._commanding:
            commands = await self._read(scope)
            await self._publish(commands.put(scope, new, self._now()))
        return Change(scope=scope, set={one.type: one.extra["revision"] for one in new})

    async def _read(self, scope: str | None) -> PlainCommands | SignedCommands:
        """What the broker retains for a scope, or at all."""
        commands, loop = self._new_commands(), asyncio.get_running_loop()
        board, through = commands.board, loop.create_future()

        def heard(topic: str, payload: Any) -> None:
            now = self._now()
            try:
                board.hear(read(topic, payload, self._find_key, now=now), now)
            except Refusal:  # nobody obeys it
                board.disregard(topic)

        def ended(complete: bool) -> None:
            board.end_round(self._now(), complete=complete)
            if not through.done():
                through.set_result(complete)

        rounds = Rounds(
            self._connector._need_link(),
            ALL if scope is None else f"{scope_topic(scope)}/#",
            by_name=own_topics(["global" if scope is None else scope]),
            heard=heard,
            begun=lambda: board.begin_round(self._now()),
            ended=ended,
        )
        deadline = loop.time() + self._connector._options.timeout_s
        rounds.start()
        complete = refused = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    complete = await through
                    # A subscription that nobody answered ends as one that is refused, but not before its time is over.
                    refused = not complete and loop.time() < deadline - _ROUNDING_S
        finally:
            rounds.stop()
        if refused:
            raise SubscribeError("the broker does not let this controller read constraints")
        if not complete:
            raise ConfirmationError("the broker does not say what it retains", may_arrive=False)
        board.settle(math.inf)
        return commands

    async def _publish(self, publications: Iterable[Publication]) -> None:
        """In this order, at QoS 1, all at once: the gap that readers of the older form see is short."""
        results = await asyncio.gather(
            *(self._connector.publish_confirmed(topic, payload, retain=True) for topic, payload in publications),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result


def limit_params(
    *,
    concurrency: int | None = None,
    rate: str | float | None = None,
    rate_capacity: float | None = None,
    capacity: Mapping[str, float] | None = None,
) -> dict[str, Mapping[str, Any]]:
    """The params of each type that ``ConstraintController.limit`` sets, checked.

    Raises:
        ConstraintError: what is asked for makes no sense; ``field`` names it.
    """
    params: dict[str, Mapping[str, Any]] = {}
    if concurrency is not None:
        params["concurrency"] = {"limit": concurrency}
    if rate is not None:
        params["rate_limit"] = {"rate": rate}
    if rate_capacity is not None:
        if rate is None:
            raise ConstraintError("rate_capacity needs a rate", field="rate_capacity")
        params["rate_limit"] = {"rate": rate, "capacity": rate_capacity}
    if capacity is not None:
        params["capacity"] = dict(capacity)
    if not params:
        raise ConstraintError("a limit needs concurrency, rate or capacity", field="params")
    for kind, given in params.items():
        check_params(GlobalConstraint(kind, "global", kind, given))
    return params


def _keys_of(sign: SigningKey | KeyFile | None) -> FindKey | None:
    if isinstance(sign, SigningKey):
        return {sign.id: sign.secret}.get
    return sign
