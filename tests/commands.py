"""``cascade-mqtt`` as a user runs it: in processes of its own, in a terminal's group of its own."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import unittest.mock
from collections.abc import Iterator
from typing import Any

from cascade.connectors.mqtt.cli import main
from waiting import eventually_blocking

_COMMAND = [sys.executable, "-m", "cascade.connectors.mqtt.cli"]
_DEADLINE_S = 100
# Wide, so that no line is broken; patient, since many of these processes run at a time.
_ENVIRONMENT = {"COLUMNS": "200", "CASCADE_MQTT_CONNECT_TIMEOUT": "30"}


def cascade_mqtt(*arguments: object, text: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*_COMMAND, *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        env=os.environ | _ENVIRONMENT | environment,
    )


def in_this_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same without the time that a process needs to start, for tests that give many orders."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    logger = logging.getLogger("cascade")
    before = list(logger.handlers), logger.propagate
    words = ["cascade-mqtt", *map(str, arguments)]
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
        unittest.mock.patch.object(sys, "argv", words),
        unittest.mock.patch.dict(os.environ, _ENVIRONMENT),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            logger.handlers[:], logger.propagate = before
    return subprocess.CompletedProcess(words, code, out.getvalue(), errors.getvalue())


class Running:
    """One that is under way; ``lines`` of its stdout come in as it prints them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ctrl_c(self) -> tuple[int, str]:
        """Interrupt it and all its children, as a terminal does; returns exit code and stderr."""
        os.killpg(self._process.pid, signal.SIGINT)
        return self.end()

    def terminate(self) -> tuple[int, str]:
        """SIGTERM to it alone; returns exit code and stderr."""
        self._process.terminate()
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for it, and for every process that it started."""
        assert self._process.stderr is not None
        errors = self._process.stderr.read()
        code = self._process.wait(_DEADLINE_S)
        self._reader.join()
        eventually_blocking(self._group_is_gone)
        return code, errors

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_DEADLINE_S)

    def _read(self) -> None:
        if self._process.stdout is not None and not self._process.stdout.closed:
            self.lines.extend(self._process.stdout)

    def _group_is_gone(self) -> bool:
        try:
            os.killpg(self._process.pid, 0)
        except ProcessLookupError:
            return True
        return False


@contextlib.contextmanager
def running(*arguments: object, reader: bool = True, **environment: str) -> Iterator[Running]:
    """Start it; what is left of it in the end is killed. Without ``reader`` its stdout is a broken pipe."""
    environ: dict[str, Any] = os.environ | _ENVIRONMENT | environment
    with subprocess.Popen(
        [*_COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=True,
    ) as process:
        if not reader:
            assert process.stdout is not None
            process.stdout.close()
        command = Running(process)
        try:
            yield command
        finally:
            command.kill()
