"""The two wheels are one distribution: same version, same metadata, nothing outside its directory."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
ROOT = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
PURE = tomllib.loads((TOP / "packaging/pure/pyproject.toml").read_text())["project"]
CARGO = tomllib.loads((TOP / "Cargo.toml").read_text())
NAME = "cascade-connector-mqtt"


def test_both_wheels_have_one_source_of_metadata():
    assert ROOT["name"] == PURE["name"] == NAME
    shared = set(ROOT) - set(PURE) - {"dynamic"}
    assert shared | {"version"} == set(PURE["dynamic"])
    assert ROOT["dynamic"] == ["version"]


def test_what_is_installed_is_what_is_here():
    installed = importlib.metadata.metadata(NAME)
    assert installed["Version"] == CARGO["workspace"]["package"]["version"]
    assert installed["License-Expression"] == "Apache-2.0"
    assert installed["Requires-Python"] == ">=3.11"
    plain = sorted(line.partition(";")[0] for line in installed.get_all("Requires-Dist") if "extra" not in line)
    assert [line.split("<")[0].split(">")[0] for line in plain] == ["aiomqtt", "paho-mqtt"]
    assert {"bench", "broker", "cli", "test"} <= set(installed.get_all("Provides-Extra"))
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="cascade-mqtt")
    assert command.value == "cascade.connectors.mqtt.cli:main"


def test_it_installs_nothing_into_the_namespaces_of_others():
    files = [str(file) for file in importlib.metadata.files(NAME) or []]
    assert files
    ours = ("cascade/connectors/mqtt/", "cascade_connector_mqtt-", "cascade_connector_mqtt.pth", "../")
    assert [file for file in files if not file.startswith(ours)] == []
    assert not (TOP / "python/cascade/__init__.py").exists()
    assert not (TOP / "python/cascade/connectors/__init__.py").exists()


def test_it_is_typed():
    import cascade.connectors.mqtt as mqtt

    assert (Path(mqtt.__file__).parent / "py.typed").is_file()
