"""Mosquitto under the tests' control: its own process, port, directory and configuration."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from broker_process import BrokerProcess, free_port

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto(BrokerProcess):
    """One broker that keeps its port, and with ``persistence`` its state, over a restart."""

    def __init__(self, directory: Path, *settings: str, persistence: bool = False) -> None:
        assert PROGRAM, "mosquitto is not installed"
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        lines = [f"listener {port} 127.0.0.1", "user root", "max_queued_messages 0", *settings]
        if not any(line.startswith("allow_anonymous") for line in settings):
            lines.append("allow_anonymous true")
        if persistence:
            lines += ["persistence true", f"persistence_location {directory}/"]
        self._directory = directory
        configuration = directory / "mosquitto.conf"
        configuration.write_text("\n".join(lines) + "\n")
        super().__init__(directory, port, [PROGRAM, "-c", str(configuration), "-v"])

    def reload(self) -> None:
        """Read passwords and access rules again."""
        self.signal(signal.SIGHUP)

    def save(self) -> None:
        """Write its state to the disk, as it does every half an hour."""
        self.signal(signal.SIGUSR1)

    @property
    def saved_bytes(self) -> int:
        """How much of its state is on the disk."""
        return sum(path.stat().st_size for path in self._directory.glob("mosquitto.db*"))
