"""Couplings: which source sample belongs to which data sample."""

import flowprior.couplings.drawing
import flowprior.couplings.given
import flowprior.couplings.ot
import flowprior.couplings.semidiscrete
from flowprior.couplings.base import Coupling, PairingCoupling
from flowprior.couplings.costs import transport_cost
from flowprior.couplings.mismatch import SourceMismatch, source_mismatch

__all__ = ["Coupling", "PairingCoupling", "SourceMismatch", "source_mismatch", "transport_cost"]
