"""Operators on tensors: the hot parts around the network.

Each operator has a typed face here and a pure-torch reference. ``backend()`` says which
implementation runs and why.
"""

from flowprior.ops.backend import backend
from flowprior.ops.loss import flow_matching_loss
from flowprior.ops.lowrank import (
    lowrank_log_density,
    lowrank_posterior_sample,
)
from flowprior.ops.mixture import diagonal_log_density, select_component, triangular_log_density
from flowprior.ops.noise import standard_normal

__all__ = [
    "backend",
    "diagonal_log_density",
    "flow_matching_loss",
    "lowrank_log_density",
    "lowrank_posterior_sample",
    "select_component",
    "standard_normal",
    "triangular_log_density",
]
