"""Families of component covariances, one a file."""

from __future__ import annotations

from flowprior.covariances.base import Covariance, FitSettings, Fitter, Parameters
from flowprior.covariances.diagonal import Diagonal, Spherical
from flowprior.covariances.full import Full, Tied
from flowprior.covariances.lowrank import LowRank

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
