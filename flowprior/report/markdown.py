"""Markdown tables and sentences of a study's long table, see :func:`flowprior.study.table.read_table`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flowprior.evaluation.result import worse_than_prior
from flowprior.report.wording import DASH
from flowprior.report.wording import counted as counted
from flowprior.study import statistics
from flowprior.study.table import DataFrame, evaluators, means, short, trained

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
    return "\n".join("| " + " | ".join(line) + " |" for line in [names, ["---"] * len(names), *cells])


def spread(values: Iterable[float], digits: int = 1) -> str:
    """``mean ± standard deviation``, the latter over seeds, where there are more than one."""
    found = statistics.spread([float(value) for value in values])
    deviation = "" if found.std is None else f" ± {found.std:.{digits}f}"
    return f"{found.mean:.{digits}f}{deviation}"


def spreads(
    table: DataFrame,
    columns: str | list[str] = "nfe",
    index: str | list[str] = "flow",
    digits: int = 1,
    show: Callable[[Iterable[float], int], str] = spread,
) -> DataFrame:
    """Means with deviations over seeds as texts: rows × columns, rows in the order of the table.

    A place where fewer seeds ran than elsewhere in its row has a dash.

    Args:
        table: values of one metric.
        columns: column or columns of the table that become columns.
        index: column or columns of the table that become rows.
        digits: behind the point.
        show: the values of one place and ``digits`` as text.
    """
    down, across = ([one] if isinstance(one, str) else one for one in (index, columns))
    values = table.groupby([*down, *across], sort=False)["value"]
    text, seeds = values.agg(lambda own: show(own, digits)).unstack(across), values.count().unstack(across)
    text = text.where(seeds.eq(seeds.max(axis=1), axis=0), DASH)
    return text.loc[[key for key in dict.fromkeys(table.set_index(index).index) if key in text.index]]


def cross(
    table: DataFrame, columns: str | list[str], wanted: Sequence[Any], header: Sequence[Any], **options: Any
) -> str:
    """:func:`spreads` as Markdown.

    Args:
        table: values of one metric.
        columns: column or columns of the table that become columns.
        wanted: their values that are shown, in this order.
        header: of the Markdown table.
        options: further ones of :func:`spreads`.
    """
    text = spreads(table, columns, **options).reindex(columns=list(wanted), fill_value=DASH).fillna(DASH)
    names = [name if isinstance(name, tuple) else (name,) for name in text.index]
    code = "`" if text.index.names[0] == "flow" else ""
    lines = zip(names, text.to_numpy(), strict=True)
    return markdown_table(header, ([f"{code}{name}{code}", *more, *line] for (name, *more), line in lines))


def pivot(
    table: DataFrame, metric: str, nfes: Sequence[int], digits: int = 1, title: str = "setting, at NFE"
) -> str:
    """One metric as Markdown: a row for each flow, a column for each number of evaluations."""
    return cross(trained(table, metric), "nfe", nfes, [title, *nfes], digits=digits)


def seed_ratios(table: DataFrame, baseline: str) -> DataFrame:
    """The values over the baseline's at the same seed and NFE; flows in their order, the baseline left out.

    Args:
        table: values of one metric.
        baseline: a flow of the table.
    """
    is_base, keys = table["flow"] == baseline, ["seed", "nfe"]
    base = table[is_base].set_index(keys)["value"].rename("base")
    joined = table[~is_base].join(base, on=keys, how="inner")
    return joined.assign(value=joined["value"] / joined["base"])


def lost_to_prior(table: DataFrame, metric: str, nfes: Iterable[int], better: str = "lower") -> str:
    """Where a flow loses to its own prior, in a sentence; "" where no flow has its prior alone (NFE 0).

    Args:
        table: a study's long table; what is in its column ``flow`` names the flows.
        metric: by which they are compared.
        nfes: the numbers of evaluations that are shown.
        better: ``"lower"`` or ``"higher"``.
    """
    found, by = means(table, metric), SPOKEN.get(metric, metric)
    known = found[found[0].notna()] if 0 in found else found.head(0)
    shown = [nfe for nfe in nfes if nfe and nfe in found]
    if known.empty:
        return ""
    lost = {name: worse_than_prior(row[[0, *shown]].to_dict(), better) for name, row in known.iterrows()}
    if any(lost.values()):
        said = {name: "NFE " + ", ".join(map(str, worse)) for name, worse in lost.items() if worse}
        every = [name for name, worse in lost.items() if len(worse) == len(shown)]
        told = (f"`{name}` at {'every NFE' if name in every else nfes}" for name, nfes in said.items())
        return f"**By {by} worse than their own prior alone (NFE 0): {'; '.join(told)}.**"
    flows = "every flow" if len(known) == len(found) else "every flow with a row at NFE 0"
    return f"By {by} {flows} is better than its own prior alone, at every NFE shown."


def evaluated_by(table: DataFrame) -> str:
    """Names the weights behind the values of one evaluator; says so where they were not written down."""
    needed = evaluators(table).dropna()
    if needed.empty:
        return ""
    named = table.loc[needed.index, "features"].dropna().unique()
    if len(named):
        return f"Evaluated by {' and '.join(f'`{short(name)}`' for name in named)}."
    scores = filter(None, needed.iloc[0].partition(" of real-data score ")[2].split(", "))
    listed = ", ".join(f"{name} {float(value):.6g}" for name, value in map(str.split, scores))
    same = f"; every cell has the same real-data score ({listed}), so it was one evaluator" if listed else ""
    return f"The weights of the evaluator were not written down{same}."
