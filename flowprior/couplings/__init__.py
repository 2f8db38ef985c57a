"""Couplings: which start belongs to which datum."""

from flowprior.couplings.base import Coupling, PairingCoupling
from flowprior.couplings.condot import CondOTCoupling
from flowprior.couplings.cost import transport_cost
from flowprior.couplings.gap import StartsGap, starts_gap
from flowprior.couplings.independent import IndependentCoupling
from flowprior.couplings.ot import OTCoupling
from flowprior.couplings.posterior import PosteriorCoupling

__all__ = [
    "CondOTCoupling",
    "Coupling",
    "IndependentCoupling",
    "OTCoupling",
    "PairingCoupling",
    "PosteriorCoupling",
    "StartsGap",
    "starts_gap",
    "transport_cost",
]
