"""Registers ``pytest --benchmark``; what it does is in benches/plugin.py."""

pytest_plugins = ["benches.plugin"]
