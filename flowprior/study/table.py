"""The results of a study as one pandas table (extra ``plot``): a row for each value, beside its run.

Distances of features and accuracies are comparable only under one set of feature extractors, against one
reference set, from equally many samples. Runs on the same data that differ in one of these are refused, in
one line.
"""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.evaluation.result import COLUMNS, REAL_DATA
from flowprior.features.base import short
from flowprior.study.folders import StudyFolder, collect
from flowprior.study.results import read_table_text

DataFrame = Series = Any
"""Of pandas, whose own types a checker cannot follow."""
Source = Path | str
WITH_FEATURES = ("fid-", "kid-", "accuracy")
"""How the metrics begin that depend on the weights of a feature extractor or classifier."""
WHOLE = ["seed", "step", "nfe", "samples"]
"""Columns of whole numbers."""
TEXTS: dict[Hashable, Any] = dict.fromkeys(
    ["run", "label", "data", "flow", "sampler", "condition", "commit"], "str"
)
"""Columns of texts, also where these look like numbers."""


class MixedEvaluations(FlowpriorError):
    """Values of several evaluators, references or sample counts were to stand in one table."""


def read_table(source: Source) -> DataFrame:
    """Every value of a study, one row each, beside what is known of its run.

    Args:
        source: the folder ``--out`` of ``flowprior compare``, or a table of results (``.csv``, ``.csv.gz``).

    Raises:
        CheckpointError: there is none, or a file is damaged or of another format.
        MixedEvaluations: two evaluators, references or sample counts among the values of one metric.
    """
    import pandas

    if (study := StudyFolder(source)).plan.is_file():
        table: DataFrame = pandas.DataFrame(collect(study).result_rows())
    elif Path(source).is_file():
        text = io.StringIO(read_table_text(source))
        table = pandas.read_csv(text, keep_default_na=False, na_values=[""], dtype=TEXTS, low_memory=False)
    else:
        raise CheckpointError(
            f"{source} holds no study; give the OUT folder of flowprior compare, or a table of its results"
        )
    if table.empty:
        raise CheckpointError(f"{source} holds no values yet; run it with: flowprior compare --out {source}")
    table = table.reindex(columns=list(dict.fromkeys([*COLUMNS, "run", *table.columns])))
    table = table.astype(dict.fromkeys(WHOLE, "Int64"))
    refuse_mixed(table, Path(source).name)
    return table


def runs_of(table: DataFrame) -> DataFrame:
    """One row for each run of a table of :func:`read_table`: its name, setting, seed and facts."""
    measured = [name for name in COLUMNS if name != "seed"]
    return table.drop(columns=measured).drop_duplicates("run").reset_index(drop=True)


def select(table: DataFrame, **where: Any) -> DataFrame:
    """The rows whose columns have these values; None is a column that does not apply, a list its values."""
    return table[_chosen(table, where)] if where else table


def trained(table: DataFrame, metric: str, split: str = "test", **where: Any) -> DataFrame:
    """The values of one metric of the trained flows: neither real data nor flows on the way, of one split."""
    chosen = _chosen(table, {**where, "metric": metric, "step": None})
    of_split = (table["split"] == split) | table["split"].isna()
    return table[chosen & (table["flow"] != REAL_DATA) & of_split]


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


def refuse_mixed(table: DataFrame, where: str) -> None:
    """Refuse a table of :func:`read_table`, which ``where`` names, whose values must not stand together.

    Raises:
        MixedEvaluations: the values of one metric come from two evaluators, references or sample counts.
    """
    evaluator, on_the_way = evaluators(table), table["step"].notna()
    data = [table["data"]] if "data" in table else []
    for (metric, split, *_), own in table.groupby(["metric", "split", on_the_way, *data], dropna=False):
        told = {"evaluator": evaluator[own.index], "reference": own["reference"], "samples": own["samples"]}
        for what, values in told.items():
            if values.nunique() > 1:
                counts = own.groupby(values)["run"].nunique()
                kinds = " and ".join(f"{short(str(kind))} ({n} runs)" for kind, n in counts.items())
                of = f"{metric}, {split} split" if isinstance(split, str) else metric
                raise MixedEvaluations(
                    f"{where}: expected one {what} for all runs of a table ({of}), got {kinds}; evaluate "
                    "them again alike, or remove those of one kind"
                )


def evaluators(table: DataFrame) -> Series:
    """For each row the weights behind its value; None where a metric needs none.

    Older runs do not name them. Their real-data score tells two apart: other weights give another one.
    """
    needed = table["metric"].astype(str).str.startswith(WITH_FEATURES)
    scores = table[needed & (table["flow"] == REAL_DATA) & table["metric"].astype(str).str.startswith("fid-")]
    told = scores["metric"] + " " + scores["value"].map(repr)
    by_run = told.groupby(scores["run"]).agg(lambda own: " of real-data score " + ", ".join(own))
    unnamed = "unknown weights" + table["run"].map(by_run).fillna("")
    return table["features"].where(table["features"].notna(), unnamed).where(needed)
