"""Study: a grid of priors, couplings, paths, samplers and seeds, run cell by cell."""

from flowprior.study.cell_file import CellFolder, StudyFolder
from flowprior.study.cells import Cell, make_cell, variants
from flowprior.study.evaluating import Recorder
from flowprior.study.grid import Curve, Grid, grid_from_dict, load_grid
from flowprior.study.records import FORMAT
from flowprior.study.running import Outcome, PlannedCell, Preview, preview_grid, run_grid
from flowprior.study.splits import Splits
from flowprior.study.statistics import PairedTest, Spread, paired_test, sign_flip_p, spread
from flowprior.study.variants import Variant

__all__ = [
    "FORMAT",
    "Cell",
    "CellFolder",
    "Curve",
    "Grid",
    "Outcome",
    "PairedTest",
    "PlannedCell",
    "Preview",
    "Recorder",
    "Splits",
    "Spread",
    "StudyFolder",
    "Variant",
    "grid_from_dict",
    "load_grid",
    "make_cell",
    "paired_test",
    "preview_grid",
    "run_grid",
    "sign_flip_p",
    "spread",
    "variants",
]
