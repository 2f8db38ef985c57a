"""Study: a grid of priors, couplings, paths, samplers and seeds, each combination trained and evaluated."""

from flowprior.study.folder import StudyFolder
from flowprior.study.grid import Grid, load_grid
from flowprior.study.running import run_grid
from flowprior.study.splits import Splits

__all__ = ["Grid", "Splits", "StudyFolder", "load_grid", "run_grid"]
