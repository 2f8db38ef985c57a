"""The flow that training leaves: its files, its likelihood, its predictions."""

from flowprior.flow.flow import Flow
from flowprior.flow.parts import FlowParts

__all__ = ["Flow", "FlowParts"]
