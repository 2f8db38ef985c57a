"""The report's values in words: numbers, comparisons, tests."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from flowprior.display.shown import counted
from flowprior.study.summary import LEVEL

ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}
BEST = {"lower": "lowest", "higher": "highest"}
DASH = "–"
"""The text of a value that is missing."""


def number(value: float | None) -> str:
    """Return a number with three significant digits."""
    if value is None:
        return DASH
    decimals = _decimals(value)
    return f"{value:.2e}" if decimals is None else f"{value:,.{decimals}f}"


def with_spread(mean: float, std: float | None) -> str:
    """Return ``12.3 ± 0.4``, with the same decimals; the mean alone where there is no deviation."""
    if std is None:
        return number(mean)
    decimals = _decimals(mean)
    return f"{number(mean)} ± {number(std) if decimals is None else f'{std:,.{decimals}f}'}"


def count(value: float) -> str:
    """Return a number of evaluations or steps: whole where it is."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def comma_list(words: Iterable[str]) -> str:
    """Return ``a``, ``a and b``, ``a, b and c``."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def data_size(size: float | None) -> str:
    """Return bytes in the unit that keeps the number short."""
    if size is None:
        return DASH
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def duration(seconds: float | None) -> str:
    """Return seconds in the unit that keeps the number short."""
    if seconds is None:
        return DASH
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 600 else f"{seconds / 60:.3g} min"


def in_short(summary: dict[str, Any]) -> str:
    """Return in one sentence which variant was best at which number of evaluations."""
    metric = summary["metric"]
    rows = [row for row in summary["best"] if row["metric"] == metric]
    if not rows:
        evaluated = any(row["metric"] == metric for row in summary["quality"])
        return "Only the priors alone were evaluated (NFE 0)." if evaluated else "No run has a result yet."
    several = len({row["sampler"] for row in rows}) > 1
    where: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        where[row["variant"]].append(count(row["nfe"]) + _by(row, several))
    best = BEST[summary["metrics"][metric]["better"]]
    if len(where) == 1 and len(rows) > 1:
        first = f"{rows[0]['variant']} has the {best} {metric} at every number of evaluations"
    else:
        parts = [f"{variant} at {comma_list(places)}" for variant, places in where.items()]
        first = f"The {best} {metric}, by evaluations of the network: {'; '.join(parts)}"
    return f"{first}."


def prior_sentence(summary: dict[str, Any], metric: str | None) -> str:
    """Return in one sentence which flows are worse than their own prior alone by a metric; empty for none."""
    losses = [loss for loss in summary["worse_than_prior"] if loss["metric"] == metric]
    if not losses:
        return ""
    several = len(summary["samplers"]) > 1
    places = [
        f"{loss['variant']} at {comma_list(map(count, loss['nfe']))}{_by(loss, several)}" for loss in losses
    ]
    one = len({loss["variant"] for loss in losses}) == 1
    subject = "this flow is worse than its" if one else "these flows are worse than their"
    return f"By {metric} {subject} own prior alone (0 evaluations), by evaluations: {'; '.join(places)}."


def _by(row: dict[str, Any], several: bool) -> str:
    """Return the sampler of a row in brackets, where there are several."""
    return f" ({row['sampler']})" if several else ""


def against(row: dict[str, Any], better: str) -> str:
    """Return the comparison of one row with the baseline: ratio, seeds won, tests; empty for none."""
    test = row["against_baseline"]
    if test is None:
        return ""
    ratio = "" if test["ratio"] is None else f"{number(test['ratio'])} × the baseline, "
    won = f"{ratio}{better} in {test['wins']} of {counted(test['n'], 'seed')}"
    if test["p_sign_flip"] is None:
        return f"{won}; one seed allows no test"
    t = "" if test["p_t"] is None else f", paired t-test p = {p_value(test['p_t'])}"
    return f"{won}; sign-flip test p = {p_value(test['p_sign_flip'])}{t}, n = {test['n']}"


def p_value(p: float) -> str:
    """Return two significant digits; very small ones as a bound."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def test_note(summary: dict[str, Any]) -> str:
    """Return in plain words what the tests of this report can show."""
    seeds = len(summary["grid"]["seeds"])
    variants = sum(not variant["skipped"] for variant in summary["variants"])
    if seeds < 2:
        return "With one seed nothing can be tested: a difference may be chance. Run at least six seeds."
    least = 2 / 2**seeds
    can_show = f"; with n = {seeds} it can give p = {p_value(least)} at the least. "
    too_few = (
        f"; n = {seeds} seeds are too few for it: it cannot give less than p = {p_value(least)}, so by "
        "this test no difference here is shown to be more than chance (that takes six seeds). "
    )
    t_test = "The paired t-test says more from few seeds, but only if the differences are normal. "
    picked = (
        f"The best of {variants} is picked by the very values that are tested, and p is not "
        "corrected for that nor for the number of comparisons. "
    )
    return (
        "Values are compared seed by seed: the same seed gives the same initial weights, data order and "
        "conditions. The sign-flip test is exact and two-sided"
        f"{too_few if least > LEVEL else can_show}{t_test * (seeds > 2)}{picked * (variants > 2)}"
        "± is the standard deviation over seeds; all seeds are evaluated on the same test data."
    )


def convergence_sentence(row: dict[str, Any], baseline: str) -> str:
    """Return how soon the quickest variant reaches the final quality of the baseline."""
    reached = {label: steps for label, steps in row["steps"].items() if label != baseline and steps}
    goal = f"{baseline}'s final {row['metric']} of {number(row['target'])} after {row['budget']} steps"
    goal += f" with {counted(round(row['nfe']), 'evaluation')}"
    if not reached:
        return f"No other variant reaches {goal}."
    least = min(reached.values())
    first = comma_list(label for label, steps in reached.items() if steps == least)
    return f"{first} reached {goal} by step {least}, {100 * least / row['budget']:.0f} % of the budget."


def _decimals(value: float) -> int | None:
    """Return the decimals that show three significant digits; None where powers of ten say it shorter."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return None
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
