"""What is told on a terminal while something takes long."""

from flowprior.progress.stages import Stage, showing, stage

__all__ = ["Stage", "showing", "stage"]
