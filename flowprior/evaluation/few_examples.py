"""Few test examples: below which number a comparison with them says little, and the warning that says so."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from flowprior.metrics.base import Metric, SampleMetric
from flowprior.metrics.setup import Reference

FEW = 100
"""Examples below which no metric of samples can be trusted: a share or mean of n of them has a standard error
of up to 1/√n of its scale, 10 % at 100, which is as much as good designs differ by."""
USUAL = {
    "fid": "10,000 or more",  # Heusel et al. 2017
    "kid": "1,000 or more",  # the subsets of Bińkowski et al. 2018
    "w2": "some hundred of each label",
    "precision-recall": "10,000 or more",  # Kynkäänniemi et al. 2019 take 50,000
}
"""Metric -> how many test examples it is usually taken against."""
_said: set[str] = set()


def warn_of_few(references: Iterable[Reference], metrics: Iterable[Metric]) -> None:
    """Warn once of each split with fewer than 100 examples, where metrics compare samples with it.

    Args:
        references: that samples are compared with.
        metrics: that are asked for.

    Warns:
        RuntimeWarning: how many examples there are, what such metrics usually take, and what to do.
    """
    names = [metric.name for metric in metrics if isinstance(metric, SampleMetric)]
    for reference in references if names else ():
        if len(reference) < FEW and (message := _sentence(reference, names)) not in _said:
            _said.add(message)
            warnings.warn(message, RuntimeWarning, stacklevel=4)


def _sentence(reference: Reference, names: list[str]) -> str:
    usual = [f"{name} {USUAL[name]}" for name in names if name in USUAL]
    needs = f" (usual are: {', '.join(usual)})" if usual else ""
    return (
        f"evaluate: expected {FEW} or more examples to compare samples with, got {reference.describe()}: "
        f"values against so few say little{needs}; hold more out (test_fraction=) or name larger data "
        "(--reference), or take the values as a sign that it runs, and no more"
    )
