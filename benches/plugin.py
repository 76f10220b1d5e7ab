"""``pytest --benchmark``: the benchmarks alone, and a summary of events a second beside measured floors."""

from __future__ import annotations

import pytest

from .report import REPORT, Report

_MISSING = "benchmarks need the plugin pytest-benchmark: run 'make dev', or pip install 'cascade-connector-mqtt[bench]'"


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    group = parser.getgroup("benchmark")
    names = ["--benchmark"]
    if not pluginmanager.hasplugin("benchmark"):
        # Known all the same, so that what is said is what is missing, not "unrecognized arguments".
        names.append("--benchmark-only")
    for name in names:
        group.addoption(
            name,
            action="store_true",
            dest="benchmark_only",
            default=False,
            help="Run benches/ alone, as --benchmark-only.",
        )
    group.addoption("--peers", action="store_true", help="With --benchmark: measure other MQTT clients as well.")


# Before the plugin's own, which reads the options that are set here.
@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report()
    if not config.option.benchmark_only:
        return
    if not config.pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(_MISSING)
    config.option.benchmark_quiet = True  # its table is in seconds a round; ours says what a round was
    if config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = [str(config.rootpath / "benches")]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.peers:
        return
    peers = [item for item in items if item.get_closest_marker("peers")]
    if peers:
        items[:] = [item for item in items if item not in peers]
        config.hook.pytest_deselected(items=peers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash[REPORT].lines()
    if lines:
        terminalreporter.section("events a second, and ratios within this run")
    for line in lines:
        terminalreporter.write_line(line)
