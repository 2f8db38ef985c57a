"""The report's values in words: numbers, units, and where a flow is worse than its prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}
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


def prior_sentence(losses: Iterable[Mapping[str, Any]], name: Callable[[Any], str]) -> str:
    """Return in one sentence where flows are worse than their own prior alone; empty for nowhere.

    Args:
        losses: of :func:`flowprior.evaluation.summary.losses_of`.
        name: what a loss is called.
    """
    places = [f"{name(loss)} at {comma_list(map(count, loss['nfe']))}" for loss in losses]
    return f"Worse than the prior alone (0 evaluations), by evaluations: {'; '.join(places)}." * bool(places)


def worse_than_prior(summary: Mapping[str, Any], metric: str | None) -> str:
    """Return :func:`prior_sentence` for a metric of a study; samplers are named if there are several."""
    several = len(summary["samplers"]) > 1
    losses = [loss for loss in summary["worse_than_prior"] if loss["metric"] == metric]
    return prior_sentence(losses, lambda loss: loss["variant"] + f" by {loss['sampler']}" * several)


def p_value(p: float) -> str:
    """Return two significant digits; very small ones as a bound."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _decimals(value: float) -> int | None:
    """Return the decimals that show three significant digits; None where powers of ten say it shorter."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return None
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
