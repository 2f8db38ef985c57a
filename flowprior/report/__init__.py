"""Renderings of results: terminal, HTML, figures."""

from flowprior.report.evaluation_table import result_table
from flowprior.report.page import require_report_extra, write_report
from flowprior.report.quality_figure import save_plot
from flowprior.report.tables import quality_tables

__all__ = [
    "quality_tables",
    "require_report_extra",
    "result_table",
    "save_plot",
    "write_report",
]
