"""What is left of a coroutine whose first step was taken outside the event loop's own machinery."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

__all__ = ["rest"]


@types.coroutine
def rest(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, None]:
    """Awaitable; ``waits_for`` is what the first step has yielded, a future most often."""
    try:
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(sent)
    except StopIteration:
        return
