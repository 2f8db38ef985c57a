"""Whether cells may stand beside each other: alike in everything but what is compared, or refused.

``compare`` makes the cells of one study alike. Where a page puts two studies beside each other nobody does,
so whoever joins them names what is compared, and all the rest is held against each other here: the setting of
the training; evaluators, references, splits, samples, numbers of evaluations of the metrics that both have.
Inside one table a flow is one setting: cells under one label that were made otherwise have no mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas

from flowprior.errors import FlowpriorError, OptionError
from flowprior.evaluation.result import REAL_DATA
from flowprior.features.base import short
from flowprior.study import table as tables
from flowprior.study.table import DataFrame
from flowprior.training.config import MAY_CHANGE, RunConfig

FREE = {*MAY_CHANGE, "training.seed"} - {"training.steps"}
"""Keys that decide no training, and the seed, which is among :data:`EVALUATION`."""
EVALUATION = ("split", "features", "reference", "samples", "nfe", "seed", "sampler")
"""Columns that say how the values of a metric came about."""
UNNAMED: Mapping[str, Any] = (
    {key.removeprefix("training."): value for key, value in RunConfig().flat().items() if key not in FREE}
    | {"condition_dropout": 0.0, "prediction": "velocity", "latent": "none"}
    | {"trainer": "", "peer": "", "part": "", "variant": "", "count": 0}
    | dict.fromkeys(("data", "prior", "coupling", "path", "model"))
)
"""Settings, and what each is in cells that do not name it: they were made before one could choose.

What one always could is None, and so unlike everything that is named.
"""


class UnlikeStudies(FlowpriorError):
    """Cells were to stand beside each other that differ in more than what is compared."""


def joined(first: DataFrame, second: DataFrame, differs: Collection[str]) -> DataFrame:
    """The rows of both tables, in the columns of the first.

    Args:
        first: as :func:`flowprior.study.table.read_table` reads it, or rows of that; what is not compared is
            to be left out before.
        second: alike.
        differs: settings and columns of :data:`EVALUATION` that may differ, which the text has to say.

    Raises:
        UnlikeStudies: as :func:`refuse_unlike`.
    """
    refuse_unlike(first, second, differs)
    parts = [part.dropna(axis="columns", how="all") for part in (first, second)]
    return pandas.concat(parts, ignore_index=True).reindex(columns=first.columns)


def refuse_unlike(first: DataFrame, second: DataFrame, differs: Collection[str]) -> None:
    """Refuse two tables whose cells differ in anything but ``differs``; for the arguments see :func:`joined`.

    Raises:
        UnlikeStudies: a setting or how values came about differs, or no metric is in both.
        OptionError: ``differs`` names what is neither a setting nor of :data:`EVALUATION`.
    """
    metrics = set(_of_flows(first)["metric"]) & set(_of_flows(second)["metric"])
    if not metrics:
        raise UnlikeStudies(f"{_labels(first)} beside {_labels(second)}: expected a metric that both have")
    if unknown := sorted({*differs} - {*UNNAMED, *EVALUATION}):
        known = ", ".join((*UNNAMED, *EVALUATION))
        raise OptionError(f"differs: got {', '.join(unknown)}; expected some of {known}")
    fields = [*_settings(first, second), *EVALUATION]
    told = [_told(table, metrics, fields) for table in (first, second)]
    unlike = [field for field in fields if field not in differs and told[0][field] != told[1][field]]
    if unlike:
        found = "; ".join(f"{field} {told[0][field]} and {told[1][field]}" for field in unlike)
        raise UnlikeStudies(
            f"{_labels(first)} beside {_labels(second)}: expected cells that differ in nothing but "
            f"{', '.join(differs) or 'their labels'}, got {found}; take cells that were made alike, or name "
            "what differs and say so in the text"
        )


def means(
    table: DataFrame,
    metric: str,
    split: str = "test",
    index: str | list[str] = "flow",
    differs: Collection[str] = (),
) -> DataFrame:
    """:func:`flowprior.study.table.means`, over cells of one setting each.

    Args:
        table: as :func:`flowprior.study.table.read_table` reads it, or rows of that.
        metric: what is averaged over seeds.
        split: which real data it was measured against.
        index: the columns that become the rows of the result.
        differs: settings that may differ between the seeds of a flow, which the text has to say.

    Raises:
        UnlikeStudies: cells that would be averaged have different settings.
    """
    named = [index] if isinstance(index, str) else [*index]
    own = tables.trained(table, metric, split)
    _refuse_two_settings(_of_flows(own), named, differs)
    return tables.over_seeds(own, index)


def _refuse_two_settings(table: DataFrame, index: list[str], differs: Collection[str]) -> None:
    """Refuse rows of one ``index`` whose cells differ in a setting."""
    fields = [field for field in _settings(table) if field not in {*index, *differs}]
    cells = table[[*index, *fields]].drop_duplicates()
    for place, own in cells[cells.duplicated(index, keep=False)].groupby(index, sort=False):
        varied = [field for field in fields if own[field].nunique(dropna=False) > 1]
        found = "; ".join(f"{field} {told}" for field in varied if " or " in (told := _values(own, field)))
        if found:
            raise UnlikeStudies(
                f"`{', '.join(map(str, place))}`: expected cells of one setting, got {found}; take the cells "
                "of one, or name what differs and say so in the text"
            )


def _of_flows(table: DataFrame) -> DataFrame:
    """The rows that are neither real data's nor of the flow itself, which no sampler changes."""
    return table[(table["flow"] != REAL_DATA) & table["nfe"].notna()]


def _settings(*those: DataFrame) -> list[str]:
    """The columns of any of these tables that decide a training."""
    return [name for name in UNNAMED if any(name in table for table in those)]


def _told(table: DataFrame, metrics: Iterable[str], fields: Iterable[str]) -> dict[str, str]:
    """Field -> its values in the rows of these metrics, as text."""
    own = _of_flows(table)
    own = own[own["metric"].isin(metrics)]
    return {field: _values(own, field) for field in fields}


def _values(table: DataFrame, field: str) -> str:
    """The distinct values of a column, in order; settings that a cell does not name are what they were."""
    found = table.reindex(columns=[field])[field].astype(object)
    kept = found.dropna() if field in EVALUATION else found.where(found.notna(), UNNAMED.get(field))
    distinct = sorted(set(kept), key=lambda value: (isinstance(value, str), value))
    return " or ".join(map(_text, distinct)) or "nothing"


def _text(value: Any) -> str:
    """A value in quotes; whole numbers alike, whether or not a column holds them as such."""
    whole = isinstance(value, float) and value.is_integer()
    return repr(short(str(int(value) if whole else value)))


def _labels(table: DataFrame) -> str:
    return " and ".join(f"`{label}`" for label in table["label"].unique())
