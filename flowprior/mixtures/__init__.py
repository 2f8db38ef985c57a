"""Gaussian mixtures of every condition at once, fitted to streamed data.

``covariance`` says what a family of covariances is; ``diagonal``, ``full`` and ``lowrank`` are the families;
``em`` fits a mixture, begun by k-means; ``moments`` is what is summed over the data, which ``grouped`` hands
out condition by condition and ``samples`` in part. Nothing here knows what a mixture is fitted for.
"""

from __future__ import annotations

from flowprior.mixtures.covariance import Covariance, FitSettings, Fitter, Parameters
from flowprior.mixtures.families import Diagonal, Full, LowRank, Spherical, Tied

COVARIANCES = ("diag", "spherical", "full", "tied", "lowrank")


def covariance_family(name: str, rank: int) -> Covariance:
    """The family called ``name``, one of ``COVARIANCES``; ``rank`` matters to ``lowrank`` alone."""
    families: dict[str, Covariance] = {
        family.name: family for family in (Diagonal(), Spherical(), Full(), Tied(), LowRank(rank))
    }
    return families[name]


__all__ = [
    "COVARIANCES",
    "Covariance",
    "Diagonal",
    "FitSettings",
    "Fitter",
    "Full",
    "LowRank",
    "Parameters",
    "Spherical",
    "Tied",
    "covariance_family",
]
