"""Couplings: which source sample belongs to which datum."""

import warnings
from typing import Any

from flowprior.couplings.base import Coupling, PairingCoupling
from flowprior.couplings.condot import CondOTCoupling
from flowprior.couplings.cost import transport_cost
from flowprior.couplings.gap import SourceGap, source_gap
from flowprior.couplings.independent import IndependentCoupling
from flowprior.couplings.leave_one_out import LeaveOneOutCoupling
from flowprior.couplings.ot import OTCoupling
from flowprior.couplings.posterior import PosteriorCoupling
from flowprior.couplings.reflow import ReflowCoupling
from flowprior.couplings.semidiscrete import SemidiscreteCoupling

__all__ = [
    "CondOTCoupling",
    "Coupling",
    "IndependentCoupling",
    "LeaveOneOutCoupling",
    "OTCoupling",
    "PairingCoupling",
    "PosteriorCoupling",
    "ReflowCoupling",
    "SemidiscreteCoupling",
    "SourceGap",
    "source_gap",
    "transport_cost",
]

FORMER_NAMES = {"StartsGap": "SourceGap", "starts_gap": "source_gap"}
"""Kept for one release."""


def __getattr__(name: str) -> Any:
    if name not in FORMER_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    now = FORMER_NAMES[name]
    warnings.warn(f"flowprior.couplings.{name} is called {now} now", DeprecationWarning, stacklevel=2)
    return globals()[now]
