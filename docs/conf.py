"""Sphinx configuration; ``make docs`` builds with every warning an error."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "extensions"))
import gallery_pages

project = "flowprior"
author = "flowprior contributors"
copyright = f"2026, {author}"
version = release = installed_version("flowprior")

# The page of the commands' options, from their help.
subprocess.run(
    [
        *(sys.executable, "-m", "typer", "flowprior.cli", "utils", "docs"),
        *("--name", "flowprior", "--title", "Command-line options"),
        *("--output", Path(__file__).parent / "api" / "cli.md"),
    ],
    stdout=subprocess.DEVNULL,
    check=True,
)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "api_index",
    "component_table",
    "gallery_pages",
    "mathml",
    "notebook_text",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3

html_math_renderer = "mathml"
sphinx_gallery_conf = gallery_pages.configuration()

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"flowprior {release}"
copybutton_exclude = ".linenos, .gp, .go"


def escape_markup(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep ``*event`` and ``p(x|c)`` outside double backquotes from opening markup that never ends."""
    for number, line in enumerate(lines):
        parts = re.split(r"(``.*?``)", line)
        parts[::2] = [re.sub(r"(?<!\\)(\*(?=event\b)|\|)", r"\\\1", part) for part in parts[::2]]
        lines[number] = "".join(parts)


def setup(app: Any) -> None:
    """Connect the hook above."""
    app.connect("autodoc-process-docstring", escape_markup)
