"""Registries of named components, their specs, and the checks of what users give as options."""

from flowprior.registry.options import Spec, check_counts, parse_spec
from flowprior.registry.registry import Registered, Registry

__all__ = ["Registered", "Registry", "Spec", "check_counts", "parse_spec"]
