"""How ``pytest benchmarks --benchmark-only`` runs: one process, rows named by their ways, ratios last."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.operators import groups
from benchmarks.operators.comparison import closing_tables
from benchmarks.operators.peers import OURS

ROWS = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """``--threads``, ``--turns``; and how to install pytest-benchmark, before its options are unknown."""
    parser.addoption("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    turns = "turns of each way of a comparison, whose median counts (default: %(default)s)"
    parser.addoption("--turns", type=int, default=groups.ROUNDS, help=turns)
    if not pluginmanager.hasplugin("benchmark"):
        raise pytest.UsageError(f"the benchmarks need pytest-benchmark: {OURS}")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Four columns if none are named; no worker processes, which would take each other's cores."""
    config.option.benchmark_columns = config.option.benchmark_columns or ["min", "median", "iqr", "rounds"]
    if getattr(config.option, "numprocesses", None):
        config.option.numprocesses, config.option.dist = None, "no"


def pytest_configure(config: pytest.Config) -> None:
    """As many turns as are asked for."""
    groups.ROUNDS = config.option.turns


@pytest.fixture(autouse=True)
def threads(pytestconfig: pytest.Config):
    """Two threads, as docs/results.md says, unless ``--threads`` says otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(pytestconfig.option.threads)
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_benchmark_group_stats(config: pytest.Config, benchmarks: list[dict[str, Any]]) -> Any:
    """Rows named after their ways; groups in the order of the benchmarks."""
    config.stash[ROWS] = rows = list(benchmarks)
    groups = yield
    for row in rows:
        row["name"] = row["extra_info"].get("way", row["name"])
    order = [row["fullname"] for row in rows]
    return sorted(groups, key=lambda group: min(order.index(row["fullname"]) for row in group[1]))


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
