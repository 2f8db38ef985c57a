"""Cell files as one pandas table (extra ``plot``): a row for each value, beside what decided the training.

Distances of features and accuracies are comparable only under one set of feature extractors, against one
reference set, from equally many samples. Cells that differ in one of these are refused, in one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.storage import read_json

if TYPE_CHECKING:
    from pandas import DataFrame, Series

COLUMNS = (
    *("flow", "seed", "step", "sampler", "grid", "nfe", "guidance", "condition"),
    *("samples", "split", "reference", "features", "metric", "value"),
)
REAL_DATA = "real data"
"""In the column ``flow``: real samples in place of generated ones."""
WITH_FEATURES = ("fid-", "kid-", "accuracy")
"""How the metrics begin that depend on the weights of an extractor or classifier."""
FORMAT = 3
LIMIT = 256 << 20
Cell = dict[str, Any]


class MixedEvaluations(FlowpriorError):
    """Values of several evaluators, references or sample counts were to stand in one table."""


def read_cells(source: Path | str | Iterable[Path]) -> dict[str, Cell]:
    """The cell files of a folder, or these files, by name, in the order of their names.

    Raises:
        CheckpointError: a file is damaged or of another format.
    """
    files = sorted(Path(source).glob("*.json")) if isinstance(source, str | Path) else list(source)
    cells = {path.stem: read_json(path, LIMIT) for path in files}
    for name, cell in cells.items():
        if cell.get("format") != FORMAT:
            raise CheckpointError(
                f"{name}.json has format {cell.get('format')}, expected a cell file of format {FORMAT}; "
                "run its study again with: flowprior compare"
            )
    return cells


def read_table(source: Path | str | Iterable[Path]) -> DataFrame:
    """Every value of the cells: the columns of a result, the keys of ``setting``, and ``cell``, the file's name.

    Args:
        source: a folder of cell files, or the files.

    Raises:
        CheckpointError: a file is damaged or of another format.
        MixedEvaluations: two evaluators, references or sample counts among the values of one metric.
    """
    import pandas

    table = pandas.DataFrame(list(_rows(read_cells(source))))
    table = table.reindex(columns=list(dict.fromkeys([*COLUMNS, "cell", *table.columns])))
    whole = ["seed", "step", "nfe", "samples"]
    table[whole] = table[whole].astype("Int64")
    refuse_mixed(table, Path(source).name if isinstance(source, str | Path) else "table")
    return table


def read_runs(source: Path | str | Iterable[Path]) -> DataFrame:
    """One row a cell: what decided its training and how it ran.

    Raises:
        CheckpointError: a file is damaged or of another format.
    """
    import pandas

    cells = read_cells(source).items()
    return pandas.DataFrame([{**cell["run"], **cell["setting"], "cell": name} for name, cell in cells])


def _rows(cells: dict[str, Cell]) -> Iterator[Cell]:
    for name, cell in cells.items():
        for row in cell["rows"]:
            yield {**cell["setting"], **dict.fromkeys(COLUMNS), **row, "cell": name}


def trained(table: DataFrame, metric: str, split: str = "test") -> DataFrame:
    """The values of one metric of the trained flows: neither real data nor flows on the way, of one split."""
    own = (table.metric == metric) & table.step.isna() & (table.flow != REAL_DATA)
    return table[own & (table.split.isna() | (table.split == split))]


def means(table: DataFrame, metric: str, split: str = "test") -> DataFrame:
    """Means over seeds: a row for each flow in the order of the table, a column for each NFE."""
    own = trained(table, metric, split)
    return own.pivot_table(index="flow", columns="nfe", values="value", sort=False).sort_index(axis=1)


def real_data_score(table: DataFrame, metric: str, split: str = "test") -> float:
    """The metric between real training samples and the reference, mean over the cells."""
    own = table[(table.flow == REAL_DATA) & (table.metric == metric) & (table.split == split)]
    return float(own.value.mean())


def refuse_mixed(table: DataFrame, where: str) -> None:
    """Refuse values that must not stand in one table.

    Args:
        table: as :func:`read_table` makes it.
        where: names the table.

    Raises:
        MixedEvaluations: the values of one metric come from two evaluators, references or sample counts.
    """
    evaluator = evaluators(table)
    for (metric, split), own in table.groupby(["metric", "split"], dropna=False):
        told = {"evaluator": evaluator[own.index], "reference": own.reference, "sample count": own.samples}
        for what, values in told.items():
            counts = own.groupby(values.dropna()).cell.nunique()
            if len(counts) > 1:
                kinds = " and ".join(f"{short(str(kind))} ({n} cells)" for kind, n in counts.items())
                of = f"{metric}, {split} split" if isinstance(split, str) else metric
                raise MixedEvaluations(
                    f"{where}: expected one {what} for all cells of a table ({of}), got {kinds}; evaluate "
                    "them again alike, or remove those of one kind"
                )


def evaluators(table: DataFrame) -> Series:
    """For each row the weights behind its value; None where a metric needs none.

    Older cells do not name them. Their real-data score tells two apart: other weights give another one.
    """
    needed = table.metric.str.startswith(WITH_FEATURES).fillna(False).astype(bool)
    scores = table[(table.flow == REAL_DATA) & table.metric.str.startswith("fid-")].groupby("cell")
    score_of = {cell: _scores(own) for cell, own in scores}
    unnamed = "unknown weights" + table.cell.map(score_of).fillna("")
    return table.features.where(table.features.notna(), unnamed).where(needed)


def _scores(own: DataFrame) -> str:
    """Real-data scores of unnamed extractors, with all their digits."""
    pairs = dict(zip(own.metric, own.value, strict=True))
    return " of real-data score " + ", ".join(f"{name} {value!r}" for name, value in pairs.items())


def short(text: str) -> str:
    """An evaluator for people: digests with their first 8 digits."""
    return re.sub(r"(sha256 [0-9a-f]{8})[0-9a-f]+", r"\1", text)
