"""Renderings of results: terminal, HTML, figures."""

from flowprior.report.evaluation_plot import save_plot
from flowprior.report.evaluation_table import result_table
from flowprior.report.tables import quality_tables
from flowprior.report.write import require_report_extra, write_report

__all__ = [
    "quality_tables",
    "require_report_extra",
    "result_table",
    "save_plot",
    "write_report",
]
