"""The command ``cascade-mqtt``. Exit codes: 0 done, 1 failed with one line on stderr, 2 wrong usage."""

from __future__ import annotations

import logging
import sys

from ..errors import MqttError

__all__ = ["main"]


def main() -> None:
    """Run the command line; a failure that the user can do something about is one line, never a traceback."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cascade"):
            raise
        _fail(
            f"the command needs {error.name}: pip install 'cascade-connector-mqtt[cli]', "
            "or in a clone pip install '.[cli]'"
        )
    # The connector's log lines are for programs; here each command says itself what went wrong.
    logging.getLogger("cascade").addHandler(logging.NullHandler())
    logging.getLogger("cascade").propagate = False
    try:
        app()
    except (MqttError, OSError) as error:
        _fail(str(error))


def _fail(reason: str) -> None:
    print(f"cascade-mqtt: {reason}", file=sys.stderr)
    sys.exit(1)
