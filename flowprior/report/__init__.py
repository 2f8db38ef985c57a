"""Renderings of results: terminal, HTML, figures."""

from flowprior.report.page import write_report

__all__ = ["write_report"]
