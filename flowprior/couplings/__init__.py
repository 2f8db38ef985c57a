"""Couplings: which source sample belongs to which data sample."""

from flowprior.couplings.base import Coupling, PairingCoupling
from flowprior.couplings.costs import transport_cost
from flowprior.couplings.drawing import (
    CondOTCoupling,
    IndependentCoupling,
    LeaveOneOutCoupling,
    PosteriorCoupling,
)
from flowprior.couplings.mismatch import SourceMismatch, source_mismatch
from flowprior.couplings.ot import OTCoupling
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
    "SourceMismatch",
    "source_mismatch",
    "transport_cost",
]
