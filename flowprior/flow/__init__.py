"""The flow that training leaves: its files, its likelihood, its predictions."""

from flowprior.flow.flow import Flow

__all__ = ["Flow"]
