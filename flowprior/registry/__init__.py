"""One generic registry, and the types of the options that a component's signature names."""

from flowprior.registry.registry import *  # noqa: F403
