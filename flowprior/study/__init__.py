"""Study: a grid of priors, couplings, paths, samplers and seeds, each combination trained and evaluated."""

from flowprior.study.evaluating import Recorder
from flowprior.study.folders import RunFolder, StudyFolder
from flowprior.study.grid import Curve, Grid, grid_from_dict, load_grid
from flowprior.study.records import FORMAT
from flowprior.study.running import Outcome, Preview, RunState, preview_grid, run_grid
from flowprior.study.runs import StudyRun, make_run, variants
from flowprior.study.splits import Splits
from flowprior.study.statistics import PairedTest, Spread, paired_test, sign_flip_p, spread
from flowprior.study.variants import Variant

__all__ = [
    "FORMAT",
    "Curve",
    "Grid",
    "Outcome",
    "PairedTest",
    "Preview",
    "Recorder",
    "RunFolder",
    "RunState",
    "Splits",
    "Spread",
    "StudyFolder",
    "StudyRun",
    "Variant",
    "grid_from_dict",
    "load_grid",
    "make_run",
    "paired_test",
    "preview_grid",
    "run_grid",
    "sign_flip_p",
    "spread",
    "variants",
]
