"""Study: a grid of priors, couplings, paths, samplers and seeds, each combination trained and evaluated."""

from flowprior.study.evaluating import Recorder
from flowprior.study.folders import StudyFolder
from flowprior.study.grid import Curve, Grid, grid_from_dict, load_grid
from flowprior.study.running import Outcome, Preview, preview_grid, run_grid
from flowprior.study.runs import StudyRun, make_run, variants
from flowprior.study.splits import Splits
from flowprior.study.variants import Variant

__all__ = [
    "Curve",
    "Grid",
    "Outcome",
    "Preview",
    "Recorder",
    "Splits",
    "StudyFolder",
    "StudyRun",
    "Variant",
    "grid_from_dict",
    "load_grid",
    "make_run",
    "preview_grid",
    "run_grid",
    "variants",
]
