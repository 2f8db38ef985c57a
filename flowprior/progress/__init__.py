"""The progress of long work: its stages, shown in a terminal, a notebook or a log."""

from flowprior.progress.stages import PROGRESS, Stage, showing, shows_progress, stage

__all__ = ["PROGRESS", "Stage", "showing", "shows_progress", "stage"]
