"""Couplings: which source sample belongs to which datum."""

from flowprior.couplings.base import Coupling, PairingCoupling
from flowprior.couplings.drawing import (
    CondOTCoupling,
    IndependentCoupling,
    LeaveOneOutCoupling,
    PosteriorCoupling,
)
from flowprior.couplings.gap import SourceGap, source_gap
from flowprior.couplings.ot import OTCoupling
from flowprior.couplings.plans import transport_cost
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
