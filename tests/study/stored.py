"""Cell files as a study leaves them, for tests of what is read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OURS, OTHER = "cnn128 sha256 " + "3e318618" + 56 * "0", "cnn128 sha256 " + "5568814b" + 56 * "0"
RUN = {"train_seconds": 1.0, "seconds": 60.0, "threads": 1, "processor": "a processor", "torch": "2"}
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


def cell(
    label: str, values: list[Row], seed: int = 0, run: dict[str, Any] | None = None, **setting: Any
) -> Row:
    """A cell file's content; every row gets the seed."""
    setting = MADE | {"label": label, "seed": seed} | setting
    own = [row | {"seed": seed} for row in values]
    return {"format": 3, "setting": setting, "run": RUN | (run or {}), "metrics": {}, "rows": own}


def keep(folder: Path, *cells: Row) -> Path:
    """Write the cells into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(cells):
        (folder / f"{number:03}.json").write_text(json.dumps(one), encoding="utf-8")
    return folder
