"""Operators on tensors: the hot parts around the network.

Each operator is a function of plain torch, behind which a native kernel stands where it was built.
``backend()`` reports which implementation runs and why.
"""

from flowprior.ops.backend import backend
from flowprior.ops.flow_matching_loss import flow_matching_loss
from flowprior.ops.gmm_log_prob import gmm_log_prob
from flowprior.ops.gmm_sample import gmm_sample

__all__ = ["backend", "flow_matching_loss", "gmm_log_prob", "gmm_sample"]
