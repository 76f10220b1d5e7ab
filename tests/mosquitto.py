"""Mosquitto under the tests' control: its own process, port, directory and configuration."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """One broker that keeps its port, and with ``persistence`` its state, over a restart."""

    def __init__(self, directory: Path, *settings: str, persistence: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.host, self.port = "127.0.0.1", free_port()
        self._directory = directory
        self._configuration = directory / "mosquitto.conf"
        lines = [f"listener {self.port} {self.host}", "user root", "max_queued_messages 0", *settings]
        if not any(line.startswith("allow_anonymous") for line in settings):
            lines.append("allow_anonymous true")
        if persistence:
            lines += ["persistence true", f"persistence_location {directory}/"]
        self._configuration.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert PROGRAM, "mosquitto is not installed"
        with (self._directory / "mosquitto.log").open("ab") as log:
            # What Python ignores stays ignored: SIGXFSZ, so that a full disk is an error, as it is on real ones.
            self._process = subprocess.Popen(
                [PROGRAM, "-c", str(self._configuration), "-v"], stdout=log, stderr=log, restore_signals=False
            )
        deadline = time.monotonic() + 10
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=1):
                return
            time.sleep(0.01)
        raise RuntimeError(f"mosquitto did not start:\n{self.log()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process; it saves its state on SIGTERM, and loses it on SIGKILL."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """The process stands still; its connections stay up and nobody reads them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def reload(self) -> None:
        """Read passwords and access rules again."""
        self._signal(signal.SIGHUP)

    def log(self) -> str:
        return (self._directory / "mosquitto.log").read_text(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


def free_port() -> int:
    """A port nobody listens on now; for a server that cannot be asked to bind port 0.

    Below the range that systems take ports of outgoing connections from: one of those could have it
    before the server does, or while the server restarts.
    """
    while True:
        port = random.randrange(15_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
