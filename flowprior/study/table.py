"""Cell files as one pandas table (extra ``plot``): a row for each value, beside what decided the training.

Distances of features and accuracies are comparable only under one set of feature extractors, against one
reference set, from equally many samples. Cells that differ in one of these are refused, in one line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.evaluation.result import COLUMNS, REAL_DATA
from flowprior.features.base import short
from flowprior.study.cell_file import StudyFolder, collect
from flowprior.study.records import Values, read_record

DataFrame = Series = Any
"""Of pandas, whose own types a checker cannot follow."""
Source = Path | str | Iterable[Path]
WITH_FEATURES = ("fid-", "kid-", "accuracy")
"""How the metrics begin that depend on the weights of a feature extractor or classifier."""
WHOLE = ["seed", "step", "nfe", "samples"]
"""Columns of whole numbers."""


class MixedEvaluations(FlowpriorError):
    """Values of several evaluators, references or sample counts were to stand in one table."""


def read_cells(source: Source) -> dict[str, dict[str, Any]]:
    """The cell files of a folder, of a study that ``flowprior compare`` has run, or these files, by name.

    Files of one name in several folders are named by their paths.

    Raises:
        CheckpointError: there is none, or a file is damaged or of another format.
    """
    if isinstance(source, str | Path) and (study := StudyFolder(source)).plan.is_file():
        found = collect(study)
        cells = {found.places[label, seed].result.stem: cell for label, seed, cell in found.cells()}
    else:
        paths = sorted(Path(source).glob("*.json")) if isinstance(source, str | Path) else list(source)
        stems = Counter(path.stem for path in paths)
        names = {path: path.stem if stems[path.stem] == 1 else str(path.with_suffix("")) for path in paths}
        cells = {name: read_record(path, Values) for path, name in names.items()}
    if not cells:
        raise CheckpointError(
            f"{source} holds no cell files; give the OUT folder of flowprior compare, or its result files"
        )
    return cells


def read_table(source: Source) -> DataFrame:
    """Every value of the cells, beside the keys of their ``setting`` and ``cell``, the file's name.

    Args:
        source: a folder of cell files, the folder ``--out`` of ``flowprior compare``, or the files.

    Raises:
        CheckpointError: a file is damaged or of another format.
        MixedEvaluations: two evaluators, references or sample counts among the values of one metric.
    """
    import pandas

    empty = dict.fromkeys(COLUMNS)
    rows = [
        {**cell["setting"], **empty, **row, "cell": name}
        for name, cell in read_cells(source).items()
        for row in cell["rows"]
    ]
    table = pandas.DataFrame(rows)
    table = table.reindex(columns=list(dict.fromkeys([*COLUMNS, "cell", *table.columns])))
    table = table.astype(dict.fromkeys(WHOLE, "Int64"))
    refuse_mixed(table, Path(source).name if isinstance(source, str | Path) else "table")
    return table


def read_runs(source: Source) -> DataFrame:
    """One row a cell: what decided its training, how it ran, and ``cell``, the file's name.

    Raises:
        CheckpointError: a file is damaged or of another format.
    """
    import pandas

    cells = read_cells(source).items()
    return pandas.DataFrame([{**cell["run"], **cell["setting"], "cell": name} for name, cell in cells])


def select(table: DataFrame, **where: Any) -> DataFrame:
    """The rows whose columns have these values; None is a column that does not apply, a list its values."""
    return table[_chosen(table, where)] if where else table


def trained(table: DataFrame, metric: str, split: str = "test", **where: Any) -> DataFrame:
    """The values of one metric of the trained flows: neither real data nor flows on the way, of one split."""
    chosen = _chosen(table, {**where, "metric": metric, "step": None})
    return table[chosen & (table["flow"] != REAL_DATA) & table["split"].isin([split, None])]


def _chosen(table: DataFrame, where: Mapping[str, Any]) -> Series:
    """For each row whether :func:`select` takes it."""
    several = (list, tuple)
    masks = [
        table[name].isna()
        if value is None
        else table[name].isin(value if isinstance(value, several) else [value])
        for name, value in where.items()
    ]
    return reduce(and_, masks)


def means(table: DataFrame, metric: str, split: str = "test", index: str | list[str] = "flow") -> DataFrame:
    """Means over seeds: a row for each flow in the order of the table, a column for each NFE.

    Other columns than ``flow`` become the rows by ``index``, such as flow and sampler.
    """
    return over_seeds(trained(table, metric, split), index)


def over_seeds(own: DataFrame, index: str | list[str] = "flow") -> DataFrame:
    """:func:`means` of rows that :func:`trained` has chosen."""
    return own.pivot_table(index=index, columns="nfe", values="value", sort=False).sort_index(axis=1)


def refuse_mixed(table: DataFrame, where: str) -> None:
    """Refuse a table of :func:`read_table`, which ``where`` names, whose values must not stand together.

    Raises:
        MixedEvaluations: the values of one metric come from two evaluators, references or sample counts.
    """
    evaluator, on_the_way = evaluators(table), table["step"].notna()
    for (metric, split, _), own in table.groupby(["metric", "split", on_the_way], dropna=False):
        told = {"evaluator": evaluator[own.index], "reference": own["reference"], "samples": own["samples"]}
        for what, values in told.items():
            if values.nunique() > 1:
                counts = own.groupby(values)["cell"].nunique()
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
    needed = table["metric"].astype(str).str.startswith(WITH_FEATURES)
    scores = table[needed & (table["flow"] == REAL_DATA) & table["metric"].astype(str).str.startswith("fid-")]
    told = scores["metric"] + " " + scores["value"].map(repr)
    by_cell = told.groupby(scores["cell"]).agg(lambda own: " of real-data score " + ", ".join(own))
    unnamed = "unknown weights" + table["cell"].map(by_cell).fillna("")
    return table["features"].where(table["features"].notna(), unnamed).where(needed)
