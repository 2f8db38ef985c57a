"""Study: a grid of priors, couplings, paths, samplers and seeds, run cell by cell."""

from flowprior.study.cells import Cell, data_identity, make_cell
from flowprior.study.check import Check, check_report
from flowprior.study.folder import ComparisonFolder
from flowprior.study.grid import Curve, Grid
from flowprior.study.grid_file import grid_from_dict, load_grid
from flowprior.study.recording import Recorder, Replay
from flowprior.study.running import Outcome, run_grid
from flowprior.study.statistics import (
    PairedTest,
    Spread,
    paired_test,
    sign_flip_p,
    spread,
)
from flowprior.study.variants import Variant, variants

__all__ = [
    "Cell",
    "Check",
    "ComparisonFolder",
    "Curve",
    "Grid",
    "Outcome",
    "PairedTest",
    "Recorder",
    "Replay",
    "Spread",
    "Variant",
    "check_report",
    "data_identity",
    "grid_from_dict",
    "load_grid",
    "make_cell",
    "paired_test",
    "run_grid",
    "sign_flip_p",
    "spread",
    "variants",
]
