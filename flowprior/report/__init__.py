"""Renderings of results: terminal, HTML, figures."""

from flowprior.report.figures import save_comparison, save_plot
from flowprior.report.page import quality_tables, require_report_extra, write_report
from flowprior.report.terminal import result_table, rich_table

__all__ = [
    "quality_tables",
    "require_report_extra",
    "result_table",
    "rich_table",
    "save_comparison",
    "save_plot",
    "write_report",
]
