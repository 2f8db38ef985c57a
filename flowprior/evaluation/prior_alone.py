"""Where a flow is no better than the prior that it starts from, which spends no evaluation (NFE 0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def worse_than_prior(by_nfe: Mapping[float, float], better: str) -> list[float]:
    """The numbers of evaluations at which a metric is worse than at NFE 0, ascending.

    Args:
        by_nfe: number of evaluations -> value of the metric.
        better: ``"lower"`` or ``"higher"``; any other metric has no worse.

    Returns:
        None of them where there is no value at NFE 0.
    """
    sign = {"lower": 1, "higher": -1}.get(better)
    if sign is None or 0 not in by_nfe:
        return []
    return sorted(count for count, value in by_nfe.items() if count and sign * value > sign * by_nfe[0])


def comma_list(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
