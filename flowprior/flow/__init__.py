"""What training leaves: the flow, its files, its likelihood, its linear velocity."""

from flowprior.flow.flow import Flow

__all__ = ["Flow"]
