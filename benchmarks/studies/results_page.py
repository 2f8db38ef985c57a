"""Write docs/results.md from the stored cell files, and the generated sentences of pages that advise.

    python -m benchmarks.studies.results_page

Prose and what each table shows are in ``results.md.jinja``, and in ``claims.md.jinja`` what the other pages
take from there. A study that has not run has no section.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import pandas

from benchmarks.operators.comparison import full_size, operators, pairing_cost, timings, whole_steps
from benchmarks.studies import (
    RESULTS,
    STUDIES,
    alike,
    awkward_laws,
    component_counts,
    convergence,
    emoji,
    emoji_sizes,
    few_labels,
    forecasting,
    kinds,
    lead,
    moved_source,
    one_evaluation,
    overview,
    overview_charts,
    restoration,
    tables,
    warm_start,
)
from flowprior.evaluation.result import REAL_DATA
from flowprior.report import markdown
from flowprior.study.table import DataFrame, read_runs, read_table, select

DOCS = STUDIES.parents[1] / "docs"
TARGET = DOCS / "results.md"
CHARTS = (
    "losses",
    "emoji-sizes",
    "moved-source",
    "convergence",
)
LOSSES, SIZES, MOVED, CONVERGENCE = (DOCS / "images" / f"{name}.png" for name in CHARTS)
BUDGETS = (1000, 4000, 16000)
"""Steps of the studies of pictures that docs/findings.md speaks of."""
STANDS_ALONE = (
    "lead-",
    "emoji-",
    "long-",
    "from-scratch",
    "late-start",
    "one-evaluation",
    "warm-start",
)
OWN_SECTION = (*STANDS_ALONE, *restoration.TASKS)
"""How the folders begin that a section of their own tells of."""
NFES = [1, 2, 4, 8, 15, 30]
CLAIMS: Mapping[str, tuple[str, ...]] = {
    "choosing": ("variance_floor",),
    "few-evaluations": ("late_start", "warm_start", "one_evaluation"),
    "README": ("standing",),
    "findings": (
        "own_prior",
        "lead",
        "residual",
        "convergence",
        "more_evaluations",
        "paper_design",
        "embeddings",
        "captions",
    ),
}
"""Page -> the blocks of ``claims.md.jinja`` that stand in it, between markers, in their order."""
CONTENTS = "<!-- contents -->"
"""Where the list of sections stands."""
MARKED = re.compile(r"(<!-- generated: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Study:
    """A stored study, or a part of it.

    Attributes:
        table: a row for each value.
        runs: a row for each cell.
    """

    table: DataFrame
    runs: DataFrame

    def only(self, **where: Any) -> Study | None:
        """The cells whose settings have these values; None where there are none."""
        runs = select(self.runs, **where)
        return Study(select(self.table, cell=list(runs["cell"])), runs) if len(runs) else None

    @property
    def first(self) -> dict[str, Any]:
        """Setting and run of the first cell."""
        return self.runs.iloc[0].to_dict()

    @property
    def flows(self) -> list[str]:
        """The labels in their order."""
        return list(self.runs["label"].unique())

    def score(self, metric: str, flow: str = REAL_DATA) -> float:
        """The real-data score of a metric, mean over the cells; ``flow`` may name another yardstick."""
        return float(select(self.table, metric=metric, flow=flow, split="test")["value"].mean())


def read_study(folder: Path) -> Study | None:
    """A folder of cell files, or of folders of those with one reference each; None where it has none."""
    parts = [part for part in (folder, *sorted(folder.glob("*/"))) if any(part.glob("*.json"))]
    if not parts:
        return None
    tables, runs = ([read(part) for part in parts] for read in (read_table, read_runs))
    return Study(pandas.concat(tables, ignore_index=True), pandas.concat(runs, ignore_index=True))


Read = Callable[[Path], Study | None]


def table_of(read: Read, root: Path, name: str) -> DataFrame:
    """The values of a study below a folder; a table without rows where it has not run."""
    found = read(root / name)
    return found.table if found else pandas.DataFrame()


def class_conditional(root: Path, read: Read = read_study) -> dict[str, Study]:
    """The studies whose cells were evaluated on a validation split, too, but for those of ``OWN_SECTION``."""
    folders = sorted(
        path for path in root.glob("*-*") if path.is_dir() and not path.name.startswith(OWN_SECTION)
    )
    found = {folder.name: read(folder) for folder in folders}
    return {name: s for name, s in found.items() if s and (s.table["split"] == "validation").any()}


def dropped(root: Path, name: str, study: Study) -> dict[str, Any]:
    """The cells that another evaluator had evaluated and that have not been trained again."""
    path = root / "dropped.json"
    told = json.loads(path.read_text(encoding="utf-8")).get(name, {}) if path.exists() else {}
    there = {*study.runs["label"] + "-seed" + study.runs["seed"].astype(str)}
    gone = [f"`{cell}`" for cell in told.get("cells", []) if cell not in there]
    return {"evaluator": told["evaluator"], "cells": ", ".join(gone)} if gone else {}


@cache
def template(name: str) -> jinja2.Template:
    """A template beside this file, with everything that makes tables."""
    loader = jinja2.FileSystemLoader(STUDIES)
    options = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=loader, **options)
    modules = {"lead": lead, "emoji": emoji, "emoji_sizes": emoji_sizes}
    modules |= {
        "few_labels": few_labels,
        "forecasting": forecasting,
        "alike": alike,
        "awkward": awkward_laws,
        "counts": component_counts,
        "moved_source": moved_source,
        "one_evaluation": one_evaluation,
        "overview": overview,
        "kinds": kinds,
        "convergence": convergence,
        "restoration": restoration,
        "warm_start": warm_start,
    }
    environment.filters["thousands"] = "{:,}".format
    environment.globals |= vars(markdown) | vars(tables) | modules
    return environment.get_template(name)


def page(root: Path = RESULTS, read: Read = read_study) -> str:
    """The whole page from the results below a folder; studies without results are left out."""
    read = cache(read)
    values = partial(table_of, read, root)
    text = template("results.md.jinja").render(
        dropped=lambda name, study: dropped(root, name, study),
        conditional=class_conditional(root, read),
        study=lambda name: read(root / name),
        overviews={name: found(values) for name, (found, _) in overview_charts.CHARTS.items()},
        timings=timings(root / "benchmarks.json"),
        operators=operators(root / "operators.json"),
        steps=whole_steps(root / "whole-steps.json"),
        full_size=full_size(root / "full-size.json"),
        pairing_cost=pairing_cost(root / "pairing-cost.json"),
    )
    text = text.replace(CONTENTS, contents(text), 1)
    return re.sub(r"\n\s*\n", "\n\n", re.sub(r" +\n", "\n", text)).strip() + "\n"


def contents(text: str) -> str:
    """A link to each section of a page, in their order."""
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return "".join(f"- [{title}](#{anchor})\n" for title, anchor in zip(titles, anchors, strict=True))


def page_of_claims(name: str) -> Path:
    """The file of a page of :data:`CLAIMS`."""
    return (DOCS.parent if name == "README" else DOCS) / f"{name}.md"


def told(root: Path = RESULTS, read: Read = read_study) -> dict[str, Any]:
    """What the claims are made from: the results below a folder, each read once."""
    read = cache(read)
    table = partial(table_of, read, root)
    pictures = {steps: table(f"fashion-mnist-{steps}") for steps in BUDGETS}
    led = {steps: study for steps in BUDGETS if (study := read(root / f"lead-{steps}"))}
    return {
        "table": table,
        "study": lambda name: read(root / name),
        "pictures": pictures,
        "leads": {steps: lead.with_rivals(s.table, pictures[steps]) for steps, s in led.items()},
        "nfes": NFES,
    }


def filled(text: str, stored: Mapping[str, Any]) -> str:
    """``text`` with what is between its markers generated anew.

    Args:
        text: of a page of :data:`CLAIMS`.
        stored: as :func:`told` gives it.

    Raises:
        KeyError: a marker names no claim.
    """
    said = template("claims.md.jinja")

    def claim(match: re.Match[str]) -> str:
        block = said.blocks[match[2]](said.new_context(dict(stored)))
        return f"{match[1]}{''.join(block).strip()}\n{match[4]}"

    return MARKED.sub(claim, text)


def main() -> None:
    """Write the page and its charts, and the sentences of others that say what the page says."""
    read = cache(read_study)
    overview_charts.draw_all(partial(table_of, read, RESULTS), DOCS / "images")
    if study := read(RESULTS / f"lead-{BUDGETS[0]}"):
        lead.draw_losses(study.table, BUDGETS[0], LOSSES)
    if study := read(RESULTS / "emoji-sizes"):
        emoji_sizes.draw_curve(emoji_sizes.at_own_temperature(study.table), SIZES)
    if study := read(RESULTS / "moved-source"):
        moved_source.draw_curves(study.table, MOVED)
    if study := read(RESULTS / "convergence"):
        convergence.draw_curves(study.table, study.runs, CONVERGENCE)
    TARGET.write_text(page(read=read), encoding="utf-8")
    stored = told(read=read)
    for path in map(page_of_claims, CLAIMS):
        path.write_text(filled(path.read_text(encoding="utf-8"), stored), encoding="utf-8")


if __name__ == "__main__":
    main()
