"""Results as a study leaves them, for tests of what is read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowprior.study.table import facts_of, rows_of_run, write_results

OURS, OTHER = "cnn128 sha256 " + "3e318618" + 56 * "0", "cnn128 sha256 " + "5568814b" + 56 * "0"
RUN = {"seconds": 60.0, "threads": 1, "torch": "2", "commit": 40 * "a"}
MADE = {
    "prior": "gmm",
    "coupling": "condot",
    "path": "condot",
    "prediction": "velocity",
    "peer": "",
    "model": "mlp",
    "steps": 10,
    "batch_size": 8,
    "lr": 0.005,
}
Row = dict[str, Any]


def rows(label: str, metric: str = "fid-cnn128", split: str = "test", **at: float) -> list[Row]:
    """One value at each number of evaluations: ``rows("a", nfe0=3.0, nfe4=2.0)``."""
    common = {"flow": label, "sampler": "euler", "split": split, "metric": metric}
    return [common | {"nfe": int(nfe.removeprefix("nfe")), "value": value} for nfe, value in at.items()]


def run(
    label: str, values: list[Row], seed: int = 0, run: dict[str, Any] | None = None, **setting: Any
) -> tuple[Row, Row, list[Row]]:
    """Setting, facts and rows of a run; every row gets the seed."""
    setting = MADE | {"label": label, "seed": seed} | setting
    return setting, facts_of(RUN | (run or {})), [row | {"seed": seed} for row in values]


def keep(folder: Path, *runs: tuple[Row, Row, list[Row]], first: int = 0) -> Path:
    """Write the runs into a table of results, named by numbers from ``first`` on."""
    path = folder / "results.csv"
    named = enumerate(runs, first)
    write_results(path, [row for number, own in named for row in rows_of_run(f"{number:03}", *own)])
    return path
