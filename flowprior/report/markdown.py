"""Markdown tables and sentences of a study's long table, see :func:`flowprior.study.table.read_table`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flowprior.study.table import WITH_FEATURES, evaluators, means, short, trained

if TYPE_CHECKING:
    from pandas import DataFrame

DASH = "–"
SPOKEN = {
    "w2_squared": "W2²",
    "raw": "raw W2²",
    "debiased": "debiased W2²",
    "energy": "energy distance",
    "sliced": "sliced W2²",
}
"""How metrics are called in texts, where not as in the table."""


def markdown_table(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; None is a dash."""
    cells = [[DASH if cell is None else str(cell) for cell in row] for row in rows]
    names = [str(name) for name in header]
    lines = [names, ["---"] * len(names), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Iterable[float], digits: int = 1) -> str:
    """``mean ± standard deviation``, the latter over seeds, where there are more than one; a dash for none."""
    found = [float(value) for value in values]
    if not found:
        return DASH
    mean = f"{statistics.mean(found):.{digits}f}"
    return f"{mean} ± {statistics.stdev(found):.{digits}f}" if len(found) > 1 else mean


def counted(number: int, thing: str) -> str:
    """``1 seed`` or ``3 seeds``."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def spreads(
    table: DataFrame, columns: str | list[str] = "nfe", *, index: str = "flow", digits: int = 1
) -> DataFrame:
    """Means with deviations over seeds as texts: rows × columns, rows in the order of the table.

    A place where fewer seeds ran than elsewhere in its row has a dash.

    Args:
        table: values of one metric.
        columns: column or columns of the table that become columns.
        index: column of the table that becomes rows.
        digits: behind the point.
    """
    across = [columns] if isinstance(columns, str) else columns
    values = table.groupby([index, *across], sort=False).value
    text = values.agg(lambda own: spread(own, digits)).unstack(across)
    seeds = values.count().unstack(across)
    text = text.where(seeds.eq(seeds.max(axis=1), axis=0), DASH)
    return text.reindex(table[index].unique())


def pivot(
    table: DataFrame,
    metric: str,
    nfes: Sequence[int],
    *,
    digits: int = 1,
    title: str = "setting, at NFE",
) -> str:
    """One metric as Markdown: a row for each flow, a column for each number of evaluations."""
    text = spreads(trained(table, metric), digits=digits).reindex(columns=list(nfes), fill_value=DASH)
    return framed(text, [title, *nfes])


def framed(text: DataFrame, header: Iterable[Any], code: bool = True) -> str:
    """A frame of texts as Markdown; its index is the first column, as code where wanted."""
    first = (f"`{name}`" if code else str(name) for name in text.index)
    rows = ([name, *row] for name, row in zip(first, text.fillna(DASH).to_numpy(), strict=True))
    return markdown_table(header, rows)


def seed_ratios(table: DataFrame, baseline: str) -> DataFrame:
    """The values over the baseline's at the same seed and NFE; flows in their order, the baseline left out.

    Args:
        table: values of one metric.
        baseline: a flow of the table.
    """
    keys = ["seed", "nfe"]
    base = table[table.flow == baseline].set_index(keys).value.rename("base")
    joined = table[table.flow != baseline].join(base, on=keys, how="inner")
    return joined.assign(value=joined.value / joined.base)


def worse_than_prior(table: DataFrame, metric: str, nfes: Iterable[int], *, higher: bool = False) -> str:
    """Where a flow loses to its own prior, in a sentence; "" where no flow has its prior alone (NFE 0).

    Args:
        table: a study's long table; what is in its column ``flow`` names the flows.
        metric: by which they are compared.
        nfes: the numbers of evaluations that are shown.
        higher: whether more is better.
    """
    found = means(table, metric) * (-1 if higher else 1)
    known = found[found[0].notna()] if 0 in found else found.head(0)
    if known.empty:
        return ""
    by = SPOKEN.get(metric, metric)
    later = known[[nfe for nfe in nfes if nfe and nfe in known]]
    lost = [_lost(str(name), row[row > known.loc[name, 0]].index, len(row)) for name, row in later.iterrows()]
    if any(lost):
        return f"**By {by} worse than their own prior alone (NFE 0): {'; '.join(filter(None, lost))}.**"
    flows = "every flow" if len(known) == len(found) else "every flow with a row at NFE 0"
    return f"By {by} {flows} is better than its own prior alone, at every NFE shown."


def _lost(name: str, worse: Iterable[int], shown: int) -> str:
    places = [str(nfe) for nfe in worse]
    where = "every NFE" if len(places) == shown else "NFE " + ", ".join(places)
    return f"`{name}` at {where}" if places else ""


def evaluated_by(table: DataFrame) -> str:
    """Names the weights behind the values of one evaluator; says so where they were not written down."""
    own = table[table.metric.str.startswith(WITH_FEATURES).fillna(False).astype(bool)]
    if own.empty:
        return ""
    named = own.features.dropna().unique()
    if len(named):
        return f"Evaluated by {' and '.join(f'`{short(name)}`' for name in named)}."
    return _unnamed(str(evaluators(own).dropna().iloc[0]))


def _unnamed(told: str) -> str:
    scores = told.partition(" of real-data score ")[2]
    pairs = (pair.split(" ") for pair in scores.split(", ") if pair)
    listed = ", ".join(f"{name} {float(value):.6g}" for name, value in pairs)
    same = f"; every cell has the same real-data score ({listed}), so it was one evaluator" if listed else ""
    return f"The weights of the evaluator were not written down{same}."
