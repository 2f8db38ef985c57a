"""``flowprior evaluate``: quality of a flow's samples against the number of evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from flowprior.cli.catalogue import completing
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import (
    OUTPUT,
    SAMPLING,
    Device,
    Json,
    Run,
    data_spec,
    load_run,
    parse_numbers,
)
from flowprior.errors import OptionError

COMPARISON = "Metrics and data"
"""The group of options that decide what samples are compared with."""


def evaluate(
    run: Run,
    nfe: Annotated[
        str,
        typer.Option(
            help="Numbers of function evaluations (NFE), with commas between; 0 is the prior alone.",
            rich_help_panel=SAMPLING,
        ),
    ] = "0,1,2,4,8,15,30",
    samples: Annotated[
        int, typer.Option(help="Number of samples at each NFE.", rich_help_panel=SAMPLING)
    ] = 2000,
    members: Annotated[
        int,
        typer.Option(
            help="Samples of each condition, for scores of ensembles such as crps.", rich_help_panel=SAMPLING
        ),
    ] = 1,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Samplers, with commas between; by default what suits the flow.",
            autocompletion=completing("samplers"),
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    guidance: Annotated[
        str,
        typer.Option(
            help="CFG scales (classifier-free guidance), with commas between; 1 = off.",
            rich_help_panel=SAMPLING,
        ),
    ] = "1",
    seeds: Annotated[
        str,
        typer.Option(
            "--seeds", "--seed", help="Random seeds, with commas between.", rich_help_panel=SAMPLING
        ),
    ] = "0",
    metrics: Annotated[
        str,
        typer.Option(
            help="quick, all, or names (flowprior list metrics) with commas between: quick,curvature.",
            rich_help_panel=COMPARISON,
        ),
    ] = "quick",
    features: Annotated[
        str,
        typer.Option(
            help="Feature extractors besides the evaluation classifier, such as lite0.",
            show_default=False,
            rich_help_panel=COMPARISON,
        ),
    ] = "",
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set; by default the one of the run.",
            autocompletion=completing("data"),
            rich_help_panel=COMPARISON,
        ),
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help="Data whose test split samples are compared with, spec or name=spec; can be repeated, "
            "and each gets samples for its own conditions. By default the data set itself.",
            show_default=False,
            rich_help_panel=COMPARISON,
        ),
    ] = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="Also write the result to this JSON file.", rich_help_panel=OUTPUT)
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Also plot every metric against NFE into this file (.png, .svg, .pdf).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    json: Json = False,
    provided: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Compare samples of RUN with the test split of its data."""
    from flowprior.data import load_data
    from flowprior.evaluation import evaluating
    from flowprior.flow.description import digest_of
    from flowprior.flow.files import find_flow, tell_cards
    from flowprior.processes.group import launched_group
    from flowprior.report.figures import check_plot, save_plot
    from flowprior.report.terminal import result_table
    from flowprior.storage.writing import check_place

    if out is not None:
        check_place(out)
    if plot is not None:
        check_plot(plot)
        if reference is not None and len(reference) > 1:
            raise OptionError("--plot draws a single reference; leave out --plot, or all but one --reference")
    counts, numbers = parse_numbers(nfe, "--nfe", int), parse_numbers(seeds, "--seeds", int)
    guidances = parse_numbers(guidance, "--guidance", float)
    folder = find_flow(run).folder
    digest = digest_of(folder)
    processes = launched_group(device, "evaluate")
    flow = load_run(run, device)
    spec = data_spec(flow, data)
    settings = {
        "nfe": counts,
        "sampler": None if sampler is None else specs(sampler),
        "guidance": guidances,
        "seed": numbers,
        "samples": samples,
        "members": members,
        "metrics": specs(metrics),
        "features": specs(features),
    }
    for others in provided:
        settings |= others
    settings["group"] = processes.group
    train = load_data(spec, "train")
    against = {name: load_data(part, "test") for name, part in references(reference, spec).items()}
    results = {
        name: evaluating.evaluate(flow, train, reference=part, split=name, **settings)
        for name, part in against.items()
    }
    if not processes.is_main:
        return
    result = evaluating.joined(results)
    if out is not None:
        result.save(out)
    if plot is not None:
        save_plot(result, plot)
    tell_cards("add_evaluation", folder, result, digest)
    if json:
        print_json(result.as_dict())
    else:
        for one in results.values():
            print_rich(result_table(one))


def references(given: list[str] | None, default: str) -> dict[str, str]:
    """Return name -> spec of the references, ``spec`` or ``name=spec``; ``test`` is the name of a single one.

    Raises:
        OptionError: a name that is given twice.
    """
    from flowprior.study.grid import split_label

    pairs = [split_label(text) for text in given or [default]]
    names = [label or ("test" if len(pairs) == 1 else spec) for label, spec in pairs]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"--reference: '{name}' is given twice; name them apart, as in new={name}")
    return {name: spec for name, (_, spec) in zip(names, pairs, strict=True)}


def specs(text: str) -> list[str]:
    """Return names and specs separated by commas: a piece ``key=value`` belongs to the spec before it."""
    found: list[str] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        name, equals, _ = piece.partition("=")
        if found and equals and ":" not in name:
            found[-1] += f",{piece}"
        else:
            found.append(piece)
    return found
