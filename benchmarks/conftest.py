"""How ``pytest benchmarks --benchmark-only`` runs and what it prints.

Two threads of torch, no other process beside; a table for each group in the order of the benchmarks, its rows
named after the ways of doing the same thing, in us, ms or s; then ratios and shares.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.operators.comparison import closing_tables
from benchmarks.operators.peers import OURS

THREADS = 2
COLUMNS = ["min", "median", "iqr", "rounds"]
UNITS = (("u", 1e6), ("m", 1e3), ("", 1.0))
ROWS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """``--threads``; and how to install pytest-benchmark, before pytest calls its options unknown."""
    parser.addoption("--threads", type=int, default=THREADS, help="threads of torch (default: %(default)s)")
    if not pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(f"the benchmarks need pytest-benchmark: {OURS}")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """No worker processes, whatever PYTEST_ADDOPTS asks for: they would take each other's cores."""
    if getattr(config.option, "numprocesses", None):
        config.option.numprocesses, config.option.dist = None, "no"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Four columns, unless --benchmark-columns names others."""
    if not config.option.benchmark_columns:
        config.option.benchmark_columns = COLUMNS


@pytest.fixture(autouse=True)
def threads(pytestconfig: pytest.Config):
    """Two threads, as docs/results.md says, unless ``--threads`` says otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(int(pytestconfig.getoption("--threads") or THREADS))
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_scale_unit(
    config: pytest.Config, unit: str, best: dict[str, float]
) -> tuple[str, float] | None:
    """Microseconds below a millisecond, milliseconds below a second; never nanoseconds."""
    if unit != "seconds" or config.option.benchmark_time_unit:
        return None
    return next(((name, scale) for name, scale in UNITS if best["median"] * scale < 1e3), UNITS[-1])


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_benchmark_group_stats(config: pytest.Config, benchmarks: list[dict[str, Any]]) -> Any:
    """Rows named after their ways; groups in the order of the benchmarks."""
    rows = list(benchmarks)
    groups = yield
    config.stash[ROWS] = rows
    for row in rows:
        row["name"] = row["extra_info"].get("way", row["name"])
    order = {row["fullname"]: place for place, row in enumerate(rows)}
    return sorted(groups, key=lambda group: min(order[row["fullname"]] for row in group[1]))


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """The statistics without every single time."""
    for row in output_json["benchmarks"]:
        row["stats"].pop("data", None)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Ratios and shares, after pytest-benchmark's tables."""
    for line in closing_tables(config.stash.get(ROWS, [])):
        terminalreporter.write_line(line)
