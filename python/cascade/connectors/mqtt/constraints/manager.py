"""What is in force, and what that means for a task that wants to start."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .constraint import expiry
from .handlers import CapacityHandler, ConcurrencyHandler, ConstraintHandler, Foreign, PauseHandler, RateLimitHandler
from .identity import Identity
from .resources import ResourceManager
from .scopes import Scope, Subject, is_map, split_type, topic_form
from .wakeups import Wakeups

__all__ = ["ConstraintManager"]

_logger = logging.getLogger("cascade.connectors.mqtt")
# So many tasks are remembered with the constraints that concern them, until one of these changes.
_REMEMBERED = 4096


class _Entry(NamedTuple):
    """One constraint in force, as it was given, and what was made of it."""

    constraint: Any
    scope: Scope
    expires_at: float | None
    handler: ConstraintHandler


class ConstraintManager:
    """Keeps constraints and asks their handlers; to be used in one thread, and in a loop for its wake-ups.

    Constraints and tasks are known by their attributes, whatever their class: ``id``, ``scope``, ``type``, ``params``,
    ``expires_at``; and ``name``, where it has them also ``project_id``, ``source_id``, ``run_id``, ``node_type``.

    Args:
        resource_manager: where limits become resources; one of its own by default.
        clock: returns Unix time in seconds; ``time.time`` by default.
        project_id: what ``project:`` is compared with; ``CASCADE_PROJECT_ID`` or ``"default"`` by default.
        source_id: what ``source:`` is compared with; ``CASCADE_SOURCE_ID`` or node and process id by default.
    """

    def __init__(
        self,
        resource_manager: Any = None,
        *,
        clock: Callable[[], float] | None = None,
        project_id: str | None = None,
        source_id: str | None = None,
    ) -> None:
        self.resource_manager = ResourceManager() if resource_manager is None else resource_manager
        self.generation = 0
        """How often what is in force has changed."""
        self._clock = clock
        self._identity = Identity(project_id, source_id)
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._of_topic: dict[str, dict[tuple[str, str], None]] = {}
        # When to look for expired ones again: it may be early, where one that expires was lifted before.
        self._next_expiry = math.inf
        self._concerned: dict[Subject, tuple[_Entry, ...]] = {}
        self._handlers: dict[str, ConstraintHandler] = {}
        self._wakeup_callback: Callable[[], object] | None = None
        self._listeners: list[Callable[[], object]] = []
        self._wakeups = Wakeups(self.now, self._ring)
        for handler in (PauseHandler(), ConcurrencyHandler(), RateLimitHandler(), CapacityHandler()):
            self.register_handler(handler)

    # --- what is in force

    def update_constraint(self, constraint: Any) -> None:
        """Put a constraint in force, in place of one of the same scope and type; waiters are woken.

        Raises:
            ConstraintError: it cannot be read; what was in force stays so.
        """
        expires_at = expiry(constraint.expires_at)
        key = (constraint.scope, constraint.type)
        self.cleanup_expired_constraints()
        if expires_at is not None and expires_at <= self.now():
            self._remove([key] if key in self._entries else [])
            return
        handler = self._handlers.get(constraint.type, _NO_HANDLER)
        scope = Scope.read(constraint.scope)
        old = self._entries.get(key)
        if old is None:
            handler.on_constraint_add(constraint, self)
        else:
            handler.on_constraint_replace(old.constraint, constraint, self)
        if old is None and not (scope.known and handler is not _NO_HANDLER):
            what = f"type {constraint.type}" if scope.known else f"scope {constraint.scope}"
            _logger.warning("constraint %s has no effect here: its %s is not known", constraint.id, what)
        self._entries[key] = _Entry(constraint, scope, expires_at, handler)
        self._of_topic.setdefault(topic_form(constraint.scope), {})[key] = None
        if expires_at is not None:
            self._next_expiry = min(expires_at, self._next_expiry)
            self._wakeups.at(expires_at)
        self._changed()

    def remove_constraints_by_scope(self, scope: str) -> None:
        """Lift all constraints of a scope, or with ``"S:@type"`` those of scope S and that type; waiters are woken.

        The scope may be percent-encoded, as it is in a topic; ``:`` and ``/`` are the same, as they are there.
        """
        wanted, type_ = split_type(scope)
        found = {**self._of_topic.get(topic_form(wanted), {}), **self._of_topic.get(topic_form(scope), {})}
        self._remove([key for key in found if type_ in (None, key[1])])

    def cleanup_expired_constraints(self) -> None:
        """Forget what has expired; it is out of force from ``expires_at`` on without this call too."""
        now = self.now()
        if self._next_expiry > now:
            return
        ends = {key: entry.expires_at for key, entry in self._entries.items() if entry.expires_at is not None}
        self._next_expiry = min((end for end in ends.values() if end > now), default=math.inf)
        self._remove([key for key, end in ends.items() if end <= now])

    def in_force(self) -> tuple[Any, ...]:
        """The constraints that are in force now, as they were given."""
        self.cleanup_expired_constraints()
        return tuple(entry.constraint for entry in self._entries.values())

    @property
    def _constraints(self) -> dict[str, Any]:
        """What is in force by id, where engines look."""
        return {constraint.id: constraint for constraint in self.in_force()}

    def register_handler(self, handler: Any) -> None:
        """Let this handler decide on the constraints of its type, in place of the one that did before.

        Args:
            handler: a ``ConstraintHandler``, or an object with its first five methods.
        """
        known = handler if isinstance(handler, ConstraintHandler) else Foreign(handler)
        type_ = known.handles_type()
        self._handlers[type_] = known
        for key, entry in list(self._entries.items()):
            if key[1] == type_:
                entry.handler.on_constraint_remove(entry.constraint, self)
                known.on_constraint_add(entry.constraint, self)
                self._entries[key] = entry._replace(handler=known)
        self._changed()

    # --- what it means for a task

    def check_permission(self, task: Any) -> bool:
        """Whether the task may start now; then what a start costs, a token of each rate, is spent.

        A denial spends nothing, whichever constraint denies.
        """
        return self.permit(task) is not None

    def permit(self, task: Any) -> list[Callable[[], object]] | None:
        """As ``check_permission``: what undoes the spending, to be called where the task does not start, or None."""
        concerned = self._concerning(task)
        if not concerned:
            return []
        if self._denying(task, concerned) is not None:
            return None
        for entry in concerned:
            if not entry.handler.asks_twice and not entry.handler.check_permission(task, entry.constraint, self):
                return None
        spent = [entry.handler.on_permitted(task, entry.constraint, self) for entry in concerned]
        return [undo for undo in spent if undo is not None]

    def denial(self, task: Any) -> Any | None:
        """The constraint for whose sake the task may not start now, or None; nothing is spent."""
        return self._denying(task, self._concerning(task))

    def get_extra_requirements(self, task: Any) -> dict[str, Any]:
        """What the task has to acquire because of constraints, resource to amount; nothing for a map node."""
        requirements: dict[str, Any] = {}
        if not is_map(task):
            for entry in self._concerning(task):
                entry.handler.append_requirements(task, entry.constraint, requirements, self)
        return requirements

    def tokens(self, task: Any) -> frozenset[str]:
        """The scopes of the rates of which the task's start takes a token."""
        return frozenset(entry.constraint.scope for entry in self._concerning(task) if entry.handler.spends)

    def identity(self) -> Subject:
        """What tasks that say nothing of it belong to: this project and this source, as the last change found them."""
        return self._identity.subject()

    # --- time, and who is woken

    def now(self) -> float:
        """The clock's time, Unix seconds."""
        return time.time() if self._clock is None else self._clock()

    def set_wakeup_callback(self, callback: Callable[[], object] | None) -> None:
        """Call this one, without arguments, when tasks that were denied should ask again."""
        self._wakeup_callback = callback

    def add_listener(self, listener: Callable[[], object]) -> None:
        """Call this one too when tasks should ask again: what is in force has changed, or a wake-up is due."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], object]) -> None:
        """Do not call it any more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def request_wakeup(self, delay_s: float) -> None:
        """Wake waiters after so many seconds, through the running loop, or the next one that asks for permission."""
        self._wakeups.at(self.now() + delay_s)

    # --- within

    def _concerning(self, task: Any) -> tuple[_Entry, ...]:
        """What is in force for this task; handlers that may spend when they are asked come last."""
        if not self._entries:
            return ()
        self.cleanup_expired_constraints()
        self._wakeups.arm()
        subject = self._subject(task)
        found = self._concerned.get(subject)
        if found is None:
            if len(self._concerned) >= _REMEMBERED:
                self._concerned.clear()
            # A scope of an unknown kind says nothing here; a handler that was registered may know it.
            concerned = [
                entry
                for entry in self._entries.values()
                if entry.scope.matches(subject) or not (entry.scope.known or entry.handler.asks_twice)
            ]
            found = tuple(sorted(concerned, key=lambda entry: not entry.handler.asks_twice))
            self._concerned[subject] = found
        return found

    def _subject(self, task: Any) -> Subject:
        identity = self._identity.subject()
        return Subject(
            task.name,
            getattr(task, "project_id", None) or identity.project_id,
            getattr(task, "source_id", None) or identity.source_id,
            getattr(task, "run_id", None),
        )

    def _denying(self, task: Any, concerned: tuple[_Entry, ...]) -> Any | None:
        for entry in concerned:
            if entry.handler.asks_twice and not entry.handler.check_permission(task, entry.constraint, self):
                return entry.constraint
        return None

    def _remove(self, keys: list[tuple[str, str]]) -> None:
        removed = [self._entries.pop(key) for key in keys]
        for entry in removed:
            form = topic_form(entry.constraint.scope)
            del self._of_topic[form][entry.constraint.scope, entry.constraint.type]
            if not self._of_topic[form]:
                del self._of_topic[form]
        for entry in removed:
            try:
                entry.handler.on_constraint_remove(entry.constraint, self)
            except Exception:  # it must not keep the others in force, nor be the error of a task that only asked
                _logger.exception("the handler of %s failed at its end", entry.constraint.type)
        if removed:
            self._changed()

    def _changed(self) -> None:
        self.generation += 1
        self._identity.look_again()
        self._concerned.clear()
        self._wake()

    def _ring(self) -> None:
        generation = self.generation
        self.cleanup_expired_constraints()
        self._wakeups.at(self._next_expiry)
        if generation == self.generation:
            self._wake()

    def _wake(self) -> None:
        callbacks = [*self._listeners, self._wakeup_callback] if self._wakeup_callback else list(self._listeners)
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _logger.exception("a wake-up failed")


# Keeps a constraint of a type that nobody handles, in case somebody registers for it.
_NO_HANDLER = ConstraintHandler()
