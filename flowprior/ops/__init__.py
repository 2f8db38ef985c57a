"""Operators on tensors: the hot parts around the network.

Each operator has a typed face here and a pure-torch reference, which is its oracle and its fallback.
``backend()`` says which implementation runs and why.
"""

from flowprior.ops.affine_path import affine_path, interpolate
from flowprior.ops.backend import backend
from flowprior.ops.flow_matching_loss import flow_matching_loss
from flowprior.ops.gmm_log_prob import gmm_log_prob, gmm_log_prob_all
from flowprior.ops.gmm_path import gmm_path
from flowprior.ops.gmm_sample import draw_component, gmm_sample
from flowprior.ops.mixture import (
    lowrank_log_density,
    lowrank_posterior_sample,
    select_component,
    triangular_log_density,
)
from flowprior.ops.operators import complete_libraries
from flowprior.ops.random import Stream, draw_seed, uniform
from flowprior.ops.standard_normal import noise_and_latents, standard_normal
from flowprior.ops.subspace_source import SubspaceTables, subspace_source, transposed_bases
from flowprior.ops.subspace_view import subspace_view

complete_libraries()

__all__ = [
    "Stream",
    "SubspaceTables",
    "affine_path",
    "backend",
    "draw_component",
    "draw_seed",
    "flow_matching_loss",
    "gmm_log_prob",
    "gmm_log_prob_all",
    "gmm_path",
    "gmm_sample",
    "interpolate",
    "lowrank_log_density",
    "lowrank_posterior_sample",
    "noise_and_latents",
    "select_component",
    "standard_normal",
    "subspace_source",
    "subspace_view",
    "transposed_bases",
    "triangular_log_density",
    "uniform",
]
