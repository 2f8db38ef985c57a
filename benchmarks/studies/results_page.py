"""Write docs/results.md and its charts from the stored results, and the sentences of the README.

    python -m benchmarks.studies.results_page

Prose and what each table shows are in ``results.md.jinja``, the sentences in ``standing.md.jinja``.
"""

from __future__ import annotations

import re
from functools import cache

import jinja2

from benchmarks.operators.comparison import full_size, operators, whole_steps
from benchmarks.studies import RESULTS, STUDIES, charts, tables
from benchmarks.studies.headline import runs
from benchmarks.studies.headline import tables as headline

DOCS = STUDIES.parents[1] / "docs"
TARGET, README = DOCS / "results.md", DOCS.parent / "README.md"
CHART = DOCS / "images" / "overview-quality.png"
MARKED = re.compile(r"(<!-- generated: standing -->\n)(.*?)(<!-- end -->)", re.DOTALL)
"""Where the generated sentences stand in the README."""


@cache
def environment() -> jinja2.Environment:
    """The templates beside this file, with everything that makes tables."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(STUDIES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= vars(tables)
    return found


def page() -> str:
    """The whole page."""
    text = (
        environment()
        .get_template("results.md.jinja")
        .render(
            headline=headline,
            sections=headline.measured(),
            runs_left=runs.left(),
            stored={path.name.partition(".")[0] for path in RESULTS.iterdir()},
            goals=any(data == "fashion-mnist" for data, _ in headline.measured()),
            full_size=full_size(RESULTS / "full-size.json"),
            steps=whole_steps(RESULTS / "whole-steps.json"),
            operators=operators(RESULTS / "operators.json"),
        )
    )
    return re.sub(r"\n\s*\n", "\n\n", text).strip() + "\n"


def filled(readme: str) -> str:
    """The README with its generated sentences made anew."""
    said = environment().get_template("standing.md.jinja").render(headline=headline)
    return MARKED.sub(lambda match: f"{match[1]}{said.strip()}\n{match[3]}", readme)


def main() -> None:
    """Write the page, its charts and the sentences of the README."""
    charts.draw(CHART)
    TARGET.write_text(page(), encoding="utf-8")
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
