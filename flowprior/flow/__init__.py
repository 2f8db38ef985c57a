"""What training leaves: the flow, its files, its likelihood, its linear velocity."""

from flowprior.flow.flow import Flow
from flowprior.flow.parts import FlowParts

__all__ = ["Flow", "FlowParts"]
