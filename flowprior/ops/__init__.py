"""Operators on tensors: the hot parts around the network.

Each operator is a function of plain torch, behind which a native kernel stands where it was built.
``backend()`` reports which implementation runs and why.
"""

from flowprior.ops.backend import backend
from flowprior.ops.flow_matching_loss import flow_matching_loss
from flowprior.ops.gmm_log_prob import gmm_log_prob, gmm_log_prob_all
from flowprior.ops.gmm_sample import draw_component, gmm_sample
from flowprior.ops.mixture import (
    lowrank_log_density,
    lowrank_posterior_sample,
    select_component,
    triangular_log_density,
)
from flowprior.ops.random import normal, uniform

__all__ = [
    "backend",
    "draw_component",
    "flow_matching_loss",
    "gmm_log_prob",
    "gmm_log_prob_all",
    "gmm_sample",
    "lowrank_log_density",
    "lowrank_posterior_sample",
    "normal",
    "select_component",
    "triangular_log_density",
    "uniform",
]
