"""A broker in a process of its own, under the tests' control."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["BrokerProcess", "free_port"]

_START_S = 60.0
_STOP_S = 30.0


class BrokerProcess:
    """Keeps its port over a restart, and what it has on disk.

    Args:
        directory: for its log.
        command: what to run; it is to listen on ``port``.
    """

    def __init__(self, directory: Path, port: int, command: Sequence[str]) -> None:
        self.host, self.port = "127.0.0.1", port
        self._log = directory / "broker.log"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            # What Python ignores stays ignored: SIGXFSZ, so that a full disk is an error, as it is on real ones.
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, restore_signals=False)
        deadline = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            time.sleep(0.01)
        self._process.kill()
        raise RuntimeError(f"{self._command[0]} did not start:\n{self.log()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process: what it keeps on disk it saves on SIGTERM, and may lose on SIGKILL."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(how)
            self._process.wait(_STOP_S)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """The process stands still; its connections stay up and nobody reads them."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


def free_port() -> int:
    """A port nobody listens on now; for a server that cannot be asked to bind port 0.

    Below the range that systems take ports of outgoing connections from: one of those could have it
    before the server does, or while the server restarts.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
