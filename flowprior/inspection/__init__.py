"""Inspection of priors: what a prior will do, before any network is trained."""

from flowprior.inspection.inspect import Inspection, inspect_priors

__all__ = ["Inspection", "inspect_priors"]
