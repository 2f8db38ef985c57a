"""Write report.json and report.html from what is on the disk."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import tomli_w

from flowprior.errors import FlowpriorError
from flowprior.report.page import build_page
from flowprior.storage import write_text
from flowprior.study.cell_file import StudyFolder, collect, write_object
from flowprior.study.summary import summarise


def require_report_extra() -> None:
    """Refuse to begin where the report could not be written in the end.

    Raises:
        FlowpriorError: matplotlib, jinja2 or pandas is not installed.
    """
    for package in ("matplotlib", "jinja2", "pandas"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise FlowpriorError(
                f"compare: the report needs {package}; pip install 'flowprior[plot]'"
            ) from error


def write_report(
    out: str | Path, *, baseline: str | None = None, metric: str | None = None
) -> dict[str, Any]:
    """Write OUT/report.json and OUT/report.html; cells without a result are listed as such.

    Args:
        out: directory of the comparison.
        baseline: what to compare with from now on; None leaves it as it is.
        metric: what the summary is about from now on; None leaves it as it is.

    Returns:
        What report.json holds.

    Raises:
        CheckpointError: there is no comparison, or a file is damaged or cannot be written.
        OptionError: the grid names a baseline or a metric that there is not.
        FlowpriorError: the plot extra is not installed.
    """
    folder = StudyFolder(out)
    require_report_extra()
    collection = collect(folder)
    changes = {"baseline": baseline, "metric": metric}
    collection.grid |= {name: value for name, value in changes.items() if value is not None}
    summary = summarise(collection)
    if any(changes.values()):
        write_object(folder.plan, {**folder.read_plan(), "grid": collection.grid})
        write_text(folder.grid, tomli_w.dumps(collection.grid))
    write_object(folder.values, summary)
    write_text(folder.report, build_page(summary, folder, collection, tomli_w.dumps(collection.grid)))
    return summary
