"""``flowprior compare``: a grid of priors, couplings, paths, samplers and seeds, and its report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.catalogue import completing
from flowprior.cli.commands import INTERRUPTED, print_json, print_rich
from flowprior.cli.options import Json, parse_numbers, refuse_given_twice
from flowprior.errors import OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from flowprior.study import Grid
    from flowprior.study.running import Outcome

FAILED = 1
"""The exit code where a run failed."""
DESIGNS, EVALUATION, STUDY = "Designs and training", "Evaluation", "The study and its folder"
"""The groups of options in the help."""
Names = list[str] | None


def compare(
    grid: Annotated[
        Path | None,
        typer.Argument(metavar="[GRID.toml]", help="File of the grid; options replace its keys."),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="OUT", help="Folder of runs and report.", rich_help_panel=STUDY)
    ] = Path("runs/comparison"),
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set: a name (flowprior list data), name:key=value,… or a path.",
            autocompletion=completing("data"),
            rich_help_panel=DESIGNS,
        ),
    ] = None,
    prior: Annotated[
        Names,
        typer.Option(
            help="Source distribution, SPEC or LABEL=SPEC; can be repeated.",
            autocompletion=completing("priors"),
            rich_help_panel=DESIGNS,
        ),
    ] = None,
    coupling: Annotated[
        Names,
        typer.Option(
            help="Coupling of source and data samples, SPEC or LABEL=SPEC, or auto for what suits each "
            "prior; can be repeated.",
            autocompletion=completing("couplings", "auto"),
            rich_help_panel=DESIGNS,
        ),
    ] = None,
    path: Annotated[
        Names,
        typer.Option(
            help="Probability path between x0 and x1, SPEC or LABEL=SPEC; can be repeated.",
            autocompletion=completing("paths"),
            rich_help_panel=DESIGNS,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Velocity model of every run.",
            autocompletion=completing("models", "auto"),
            rich_help_panel=DESIGNS,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps of every run.", rich_help_panel=DESIGNS)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Number of random seeds: 0, 1, ….", rich_help_panel=DESIGNS),
    ] = None,
    sampler: Annotated[
        Names,
        typer.Option(
            help="Sampler, SPEC or LABEL=SPEC, or auto for what suits each flow; can be repeated.",
            autocompletion=completing("samplers", "auto"),
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    nfe: Annotated[
        str | None,
        typer.Option(
            help="Numbers of function evaluations (NFE), with commas between; 0 is the prior alone.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Number of samples at each NFE.", rich_help_panel=EVALUATION)
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The variant that others are compared with, such as 'gaussian + condot'.",
            rich_help_panel=EVALUATION,
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric of the summary.", rich_help_panel=EVALUATION)
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also plot every metric against NFE (.png, .svg, .pdf …).",
            rich_help_panel=STUDY,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set one key of the grid; can be repeated.",
            rich_help_panel=STUDY,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show which runs would be made; make and write nothing.",
            rich_help_panel=STUDY,
        ),
    ] = False,
    report_only: Annotated[
        bool,
        typer.Option(
            "--report-only", help="Write the report of OUT anew, run nothing.", rich_help_panel=STUDY
        ),
    ] = False,
    allow_hooks: Annotated[
        bool,
        typer.Option(
            "--allow-hooks",
            help="Import the functions that the grid kept in OUT names; this runs code, with your rights.",
            rich_help_panel=STUDY,
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Train every prior x coupling x path x seed at equal budget, evaluate all, write OUT/report.html."""
    from flowprior.progress.stages import stage
    from flowprior.report.figures import check_plot
    from flowprior.report.page import require_report_extra
    from flowprior.study.running import preview_grid

    if dry_run and report_only:
        raise OptionError("--dry-run and --report-only exclude each other; choose one of them")
    if not dry_run:
        require_report_extra()
    if plot is not None:
        check_plot(plot)
    if report_only:
        _import_hooks(grid, out, allow_hooks)
        _report(out, json, plot, baseline=baseline, metric=metric)
        return
    axes = {"priors": prior, "couplings": coupling, "paths": path, "samplers": sampler}
    values = {"data": data, "model": model, "samples": samples, "baseline": baseline, "metric": metric}
    values |= axes | {"seeds": seeds, "nfe": None if nfe is None else parse_numbers(nfe, "--nfe", int)}
    budget = [] if steps is None else [f"training.steps={steps}"]
    keys = [name for name, value in values.items() if value is not None]
    refuse_given_twice([*keys, *(["training.steps"] if budget else [])], overrides or [])
    trusted = allow_hooks or dry_run  # A dry run imports nothing.
    chosen = _grid(grid, out, values, [*budget, *(overrides or [])], trusted)
    if dry_run:
        with stage("plan the runs"):
            planned = preview_grid(chosen, out)
        _show_plan(planned, json)
        return
    outcome = _run(chosen, out, json)
    _report(out, json, plot)
    if outcome.interrupted or outcome.failed:
        raise typer.Exit(INTERRUPTED if outcome.interrupted else FAILED)


def _grid(path: Path | None, out: Path, values: dict[str, Any], overrides: list[str], trusted: bool) -> Grid:
    """Return the grid of file and options; where neither is given, the one that OUT was run with.

    Raises:
        OptionError: that one names functions, and is not ``trusted``: somebody else may have written it.
    """
    from flowprior.study import StudyFolder, load_grid

    given = {name: value for name, value in values.items() if value is not None}
    before = StudyFolder(out).grid
    if path is not None or given or overrides or not before.is_file():
        return load_grid(path, given, overrides)
    grid = load_grid(before)
    if not trusted and grid.hooks:
        text, key = next(iter(grid.hooks.items()))
        raise OptionError(
            f"compare: {before} names code ({key}='{text}'), which runs only where you say so: pass the file "
            f"(flowprior compare {before} --out {out}), or give --allow-hooks"
        )
    return grid


def _import_hooks(grid: Path | None, out: Path, allowed: bool) -> None:
    """Import the functions of a file that the user passes, or those of OUT's own grid where that is allowed.

    Their modules may register the data set.
    """
    from flowprior.study import StudyFolder, load_grid
    from flowprior.study.hooks import load_hooks

    if grid is not None:
        load_hooks(load_grid(grid).hooks)
    elif allowed:
        load_hooks(StudyFolder(out).read_plan().grid.hooks)


def _run(grid: Grid, out: Path, json: bool) -> Outcome:
    """Run the grid; beside JSON nothing is said of it but which runs failed."""
    from flowprior.study import run_grid

    if not json:
        return run_grid(grid, out, notify=_notify)
    outcome = run_grid(grid, out)
    for title, why in outcome.failed.items():
        _notify(f"failed {title}: {why}")
    return outcome


def _report(out: Path, json: bool, plot: Path | None, **options: str | None) -> None:
    """Write report and plot; show the values of the summary's metric, what failed or waits, and the files."""
    from flowprior.pictures import save_figure
    from flowprior.progress.stages import stage
    from flowprior.report import write_report
    from flowprior.report.figures import comparison_figure
    from flowprior.report.wording import worse_than_prior
    from flowprior.study import StudyFolder

    with stage("write the report"):
        summary = write_report(out, **options)
    report = StudyFolder(out).report
    if plot is not None:
        save_figure(comparison_figure(summary), plot)
    if json:
        counts = {name: len(summary[name]) for name in ("skipped", "failed", "waiting")}
        print_json({"report": str(report), "best": summary["best"], **counts})
        return
    tables: list[Any] = [_table(summary)] if summary["metric"] else []
    tables += [note] if (note := worse_than_prior(summary, summary["metric"])) else []
    counts = [f"{len(summary[name])} {name}" for name in ("failed", "waiting", "skipped") if summary[name]]
    print_rich(*tables, *([", ".join(counts)] if counts else []), f"the report is in {report}")
    if plot is not None:
        print_rich(f"the plot is in {plot}")


def _table(summary: dict[str, Any]) -> Table:
    """Return variants against samplers and NFE, mean and deviation of the summary's metric."""
    from rich.text import Text

    from flowprior.report.page import quality_tables
    from flowprior.report.terminal import rich_table

    metric = summary["metric"]
    found = next(table for table in quality_tables(summary) if table["metric"] == metric)
    samplers = [name for name, width in found["groups"] for _ in range(width)]
    several = len(summary["samplers"]) > 1
    names = zip(samplers, found["columns"], strict=True)
    columns = [f"{name} {at}" if several else at for name, at in names]
    rows = [
        [
            row["label"],
            *(Text(of["value"], "bold" if of["best"] else "") if of else "" for of in row["cells"]),
        ]
        for row in found["rows"]
    ]
    title = f"{metric} ({found['better']}) on {summary['grid']['data']}, {', '.join(summary['samplers'])}"
    return rich_table(title, ["evaluations", *columns], [rows])


def _show_plan(found: dict[str, Any], json: bool) -> None:
    """Print the runs of a preview, and which of them are done."""
    from flowprior.study.running import FINISHED, name_of_refused

    runs, grid = found["runs"], found["grid"]
    left = sum(run["state"] != FINISHED for run in runs)
    if json:
        print_json({"cells": runs, "skipped": found["skipped"], "grid": grid, "to_run": left})
        return
    skipped = [f"skipped {name_of_refused(row)}: {row['reason']}" for row in found["skipped"]]
    training = grid["training"]
    budget = (
        f"each: {training['steps']:,} steps of {training['batch_size']} pairs, model {grid['model']}; "
        f"{grid['samples']:,} samples at NFE {', '.join(map(str, grid['nfe']))}"
    )
    to_do = f"{left} of {len(runs)} runs to make"
    if not left:
        to_do = f"all {len(runs)} runs are finished; nothing is to be made"
    print_rich(_table_of_runs(runs, grid["data"]), *skipped, budget, to_do)


def _table_of_runs(runs: list[dict[str, Any]], data: str) -> Table:
    """Return one row a variant: how many of its runs are in which state."""
    from flowprior.report.terminal import rich_table
    from flowprior.study.running import STATES

    counts: dict[str, Counter[str]] = {}
    for run in runs:
        counts.setdefault(run["variant"], Counter())[run["state"]] += 1
    rows = [[label, *(str(own[state] or "") for state in STATES)] for label, own in counts.items()]
    return rich_table(f"runs on {data}", ["variant", *STATES], [rows], title_justify="left")


def _notify(line: str) -> None:
    typer.echo(line, err=True)
