"""``pytest --benchmark``: the benchmarks alone, a summary of what they found, and with a directory a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from .document import write
from .report import REPORT, Report
from .tables import terminal

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
    group.addoption("--full", action="store_true", help="With --benchmark: all sizes, brokers and threads.")
    group.addoption("--peers", action="store_true", help="With --benchmark: --full, and other MQTT clients as well.")
    group.addoption(
        "--benchmark-report",
        type=Path,
        metavar="DIRECTORY",
        help="With --benchmark: write benchmarks.md and benchmarks.svg there.",
    )


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
    unwanted = set() if config.option.peers else {"peers"} if config.option.full else {"peers", "full"}
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in unwanted)]
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if report.rows or report.absent:
        terminalreporter.section("figures, and ratios within this run")
    for line in terminal(report):
        terminalreporter.write_line(line)
    if report.rows and config.option.benchmark_report:
        written = write(report, config.option.benchmark_report, _command(config))
        terminalreporter.write_line(f"written: {', '.join(map(str, written))}")


def _command(config: pytest.Config) -> str:
    """What a contributor types for such a run."""
    return "make bench-peers" if config.option.peers else "make bench"
