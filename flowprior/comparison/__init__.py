"""Comparison: a grid of priors, couplings, paths, samplers and seeds, run cell by cell, and its report."""

from flowprior.comparison.cells import Cell, data_identity, make_cell
from flowprior.comparison.check import Check, check_report
from flowprior.comparison.folder import ComparisonFolder
from flowprior.comparison.grid import Curve, Grid
from flowprior.comparison.grid_file import grid_from_dict, load_grid
from flowprior.comparison.recording import Recorder, Replay
from flowprior.comparison.report import require_report_extra, write_report
from flowprior.comparison.running import Outcome, run_grid
from flowprior.comparison.statistics import PairedTest, Spread, paired_test, sign_flip_p, spread
from flowprior.comparison.tables import quality_tables
from flowprior.comparison.variants import Variant, variants

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
    "quality_tables",
    "require_report_extra",
    "run_grid",
    "sign_flip_p",
    "spread",
    "variants",
    "write_report",
]
