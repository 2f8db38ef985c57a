"""Renderings of results: terminal, HTML, figures."""

from flowprior.report.tables import quality_tables
from flowprior.report.write import require_report_extra, write_report

__all__ = [
    "quality_tables",
    "require_report_extra",
    "write_report",
]
