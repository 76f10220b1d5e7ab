"""Keeps a manager in step with what the broker holds of constraints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from ..envelope import timestamp
from .applied import Reporter, listed
from .constraint import GlobalConstraint
from .manager import ConstraintManager
from .reading import Key, read
from .retained_board import RetainedBoard
from .rounds import Rounds
from .signed_board import SignedBoard
from .signing import FindKey, Refusal
from .topics import ALL, own_topics, typed_key

if TYPE_CHECKING:
    from ..connector import MqttConnector

__all__ = ["ConstraintSync", "SyncStats"]

OnTimeout = Literal["run", "hold"]
_LISTED = 1_000


@dataclass(frozen=True, kw_only=True)
class SyncStats:
    """What a ``ConstraintSync`` has done.

    Args:
        synchronised: whether what the broker retains has been put in force at least once.
        received: messages on topics of constraints.
        refused: those that were not obeyed, by reason.
        in_force: constraints in force now.
        revision: how many changes were put in force.
    """

    synchronised: bool
    received: int
    refused: dict[str, int] = field(default_factory=dict)
    in_force: int
    revision: int


class ConstraintSync:
    """Subscribes to constraints and feeds a manager; all on the loop of the connector.

    Args:
        connector: may be connected before or after ``start``; reconnects are followed.
        manager: is told what is in force; anything else that feeds it keeps to other scopes and types.
        on_timeout: what ``start`` does where constraints are not known in time: ``"run"`` without them, with a
            warning, or ``"hold"`` until they are.
        verify: called with a key's id, returns its secret or None; a ``KeyFile`` is one. With it, only what is
            signed is obeyed.
        scopes: whose topics are subscribed to by name too, for brokers that give no retained messages to wildcards;
            by default ``global`` and this process's project and source.
        report: whether to say what is in force on ``cascade/applied/{source_id}``.

    Raises:
        ValueError: ``on_timeout`` is neither.
    """

    def __init__(
        self,
        connector: MqttConnector,
        manager: ConstraintManager,
        *,
        on_timeout: OnTimeout = "run",
        verify: FindKey | None = None,
        scopes: Iterable[str] | None = None,
        report: bool = True,
    ) -> None:
        if on_timeout not in get_args(OnTimeout):
            raise ValueError(f"on_timeout must be 'run' or 'hold', not {on_timeout!r}")
        self._connector = connector
        self._manager = manager
        self._on_timeout = on_timeout
        self._find_key = verify
        self._scopes = None if scopes is None else list(scopes)
        self._board: RetainedBoard | SignedBoard = RetainedBoard() if verify is None else SignedBoard()
        self._reporter = Reporter(connector, self._report) if report else None
        self._rounds: Rounds | None = None
        self._synchronised = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._in_round = False
        self._applied: dict[Key, GlobalConstraint] = {}
        self._received = 0
        self._refused: dict[str, int] = {}
        self.revision = 0
        """How many changes were put in force."""

    async def start(self, timeout: float = 5.0) -> bool:
        """Subscribe, and wait until what the broker retains is in force: no task should start before.

        Args:
            timeout: seconds after which ``on_timeout`` decides.

        Returns:
            False where it goes on without knowing; it stays subscribed, and they are put in force when they come.
        """
        if self._rounds is None:
            self._rounds = Rounds(
                self._connector._need_link(),
                ALL,
                by_name=own_topics(self._own_scopes() if self._scopes is None else self._scopes),
                heard=self._hear,
                begun=self._begin_round,
                ended=self._end_round,
            )
            self._rounds.start()
        try:
            try:
                async with asyncio.timeout(timeout):
                    await self._synchronised.wait()
            except TimeoutError:
                does = "tasks run without them" if self._on_timeout == "run" else "holding until they are"
                self._logger.warning("constraints are not known after %g s; %s", timeout, does)
                if self._on_timeout == "hold":
                    await self._synchronised.wait()
        except asyncio.CancelledError:
            await self.stop()
            raise
        return self._synchronised.is_set()

    async def stop(self) -> None:
        """Unsubscribe and take back the report; what is in force stays so. A second call does nothing."""
        if self._rounds is not None:
            self._rounds.stop()
            self._rounds = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reporter is not None:
            self._reporter.stop()
        self._synchronised.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def stats(self) -> SyncStats:
        """What this has done, as one snapshot."""
        return SyncStats(
            synchronised=self._synchronised.is_set(),
            received=self._received,
            refused=dict(self._refused),
            in_force=sum(1 for _ in self._in_force()),
            revision=self.revision,
        )

    @property
    def _logger(self) -> logging.Logger:
        return self._connector._need_link().logger

    # --- messages

    def _hear(self, topic: str, payload: Any) -> None:
        self._received += 1
        now = self._manager.now()
        try:
            self._board.hear(read(topic, payload, self._find_key, now=now), now)
        except Refusal as refusal:
            self._board.disregard(topic)
            self._refuse(refusal.reason, topic, refusal)
        self._apply()
        if not self._in_round:
            self._note()

    def _begin_round(self) -> None:
        self._in_round = True
        if self._reporter is not None:
            self._reporter.connected()
        self._board.begin_round(self._manager.now())
        self._apply()

    def _end_round(self, complete: bool) -> None:
        self._in_round = False
        self._board.end_round(self._manager.now(), complete=complete)
        self._apply()
        self._note()
        if complete and not self._synchronised.is_set():
            self._synchronised.set()
            self._logger.info("constraints are known: %d in force", self.stats().in_force)

    def _apply(self) -> None:
        """Bring the manager up to what is known, and see to what is due later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._manager.now()
        due = self._board.settle(now)
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - now), self._apply_later)
        changes = self._board.take_changes()
        # First what holds tasks up, so that nothing slips through in between.
        for key in sorted(changes, key=lambda key: changes[key] is None):
            self._change(key, changes[key])

    def _apply_later(self) -> None:
        self._apply()
        self._note()

    def _note(self) -> None:
        if self._reporter is not None:
            self._reporter.note()

    def _change(self, key: Key, constraint: GlobalConstraint | None) -> None:
        scope, kind = key
        if constraint is not None:
            try:
                self._manager.update_constraint(constraint)
            except Exception as error:  # a handler's may be of any kind
                self._board.take_back(key, self._applied.get(key))
                self._refuse("unreadable", f"{kind} of {scope}", error)
                return
            self._applied.pop(key, None)
            self._applied[key] = constraint
            self._logger.info("constraint in force: %s of %s %s", kind, scope, dict(constraint.params))
        elif self._applied.pop(key, None) is not None:
            self._manager.remove_constraints_by_scope(typed_key(scope, kind))
            self._logger.info("constraint lifted: %s of %s", kind, scope)
        else:
            return
        self.revision += 1

    def _refuse(self, reason: str, what: str, why: Exception) -> None:
        """Counted always; told when the count has doubled."""
        count = self._refused[reason] = self._refused.get(reason, 0) + 1
        if not count & (count - 1):
            self._logger.warning("constraint refused (%s, %d so far), %r: %s", reason, count, what, why)

    # --- what is in force

    def _in_force(self) -> Iterator[GlobalConstraint]:
        now = self._manager.now()
        return (one for one in self._applied.values() if one.expires_at is None or one.expires_at > now)

    def _report(self) -> dict[str, Any]:
        newest_first = list(self._in_force())[::-1]
        return {
            "v": "1.0",
            "ts": timestamp(),
            "source": self._connector.source_id,
            "epoch": self._connector.epoch,
            "revision": self.revision,
            "constraints": [listed(one) for one in newest_first[:_LISTED]],
            "more": max(0, len(newest_first) - _LISTED),
            "refused": dict(self._refused),
        }

    def _own_scopes(self) -> list[str]:
        who = self._manager.identity()
        return ["global", f"project:{who.project_id}", f"source:{who.source_id}"]
