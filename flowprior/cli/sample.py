"""``flowprior sample``: draw samples from a trained flow into a picture or a file of arrays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flowprior.cli.asked import Given, asking_for_conditions, read_asked, read_parts
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import (
    CONDITIONS,
    LARGEST_SEED,
    OUTPUT,
    SAMPLING,
    Device,
    Guidance,
    Json,
    Run,
    Sampler,
    load_run,
)
from flowprior.display.shown import counted


def sample(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write: an image (.png, .svg, .pdf …), arrays (.npz, .pt), or cells (.h5ad).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    animate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write an animation of the trajectories from source samples to samples (.gif).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    cond: Annotated[
        str | None,
        typer.Option(
            help="Condition: labels by name or number, such as 3, or 0,1,2, or all; an embedding; a file "
            ".npy of conditions.",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            help="Label of the part 'style', by name or number; several with commas, or all.",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Label of a part of any name; can be repeated.",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
    nfe: Annotated[
        int | None,
        typer.Option(
            help="Number of function evaluations (NFE) of the velocity model, exactly; 15 by default, 0 for "
            "source samples of the prior alone.",
            show_default=False,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    sampler: Sampler = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Factor on the source samples' distance from the prior's mean; 1 by default. "
            "Below 1: more typical samples, less variety.",
            show_default=False,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    prior_guidance: Annotated[
        float | None,
        typer.Option(
            help="Factor on the shift of the prior from its mean over all conditions to that of the "
            "condition; 1 by default. Above 1: more typical of the condition, at no cost.",
            show_default=False,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    guidance: Guidance = 1.0,
    count: Annotated[
        int | None,
        typer.Option(
            "--count", "--n", min=1, help="Number of samples of each condition.", rich_help_panel=CONDITIONS
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Random seed.", rich_help_panel=SAMPLING)
    ] = 0,
    show_prior: Annotated[
        bool,
        typer.Option(
            "--show-prior",
            help="Show the prior's mean and source samples beside the samples.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    device: Device = "auto",
    json: Json = False,
    provided: Sequence[Given] = (),
) -> None:
    """Draw samples of RUN and write them to a file."""
    from flowprior.cli.samples_file import (
        check_events,
        check_files,
        notes_of,
        prior_panels,
        save_motion,
        save_samples,
        title_of,
    )
    from flowprior.flow.flow import draw
    from flowprior.processes.group import launched_group
    from flowprior.progress.stages import stage

    check_files(out, animate)
    asking = asking_for_conditions(provided, cond)
    labels = read_parts(part, style)
    processes = launched_group(device, "sample")
    flow = load_run(run, device)
    check_events(out, animate, flow.event_shape, show_prior)
    for each in provided:
        each.prepare(flow)
    with stage("read the condition"):
        asked = asking.read(flow, count, labels) if asking else read_asked(flow, cond, count, labels)
    settings = {
        "sampler": sampler or flow.default_sampler,
        "temperature": temperature,
        "prior_guidance": prior_guidance,
        "guidance": guidance,
    }
    for each in provided:
        settings |= each.settings
    draw_samples = partial(draw, flow, asked.cond, asked.n, seed=seed, **settings)
    start = time.perf_counter()
    with stage("draw samples"):
        solution = draw_samples(nfe=nfe, trajectory=animate is not None, group=processes.group)
    seconds = time.perf_counter() - start
    if not processes.is_main:
        return
    panels = prior_panels(flow, asked, draw_samples(nfe=0).x, solution.x) if show_prior else {}
    for each in provided:
        panels = each.panels(flow, asked, solution.x, panels)
    title = title_of(run.name, asked, solution.nfe, settings)
    if out is not None:
        save_samples(
            out,
            solution.x,
            asked.cond,
            title,
            panels=panels or {"": (solution.x, asked.rows)},
            names=asked.names,
            facts=flow.metadata.get("data"),
            notes=notes_of(asked, condition=cond, **settings, seed=seed, nfe=solution.nfe, run=run.name),
        )
    if animate is not None:
        save_motion(animate, solution, asked.rows, title, asked.names)
    written = [str(file) for file in (out, animate) if file is not None]
    if json:
        found = {"out": written[0], "count": len(solution.x), "nfe": solution.nfe, "seconds": seconds}
        print_json(found | ({"animation": str(animate)} if animate is not None else {}))
    else:
        drawn = f"{counted(len(solution.x), 'sample')}, {counted(solution.nfe, 'evaluation')}"
        print_rich(f"{drawn}, {seconds:.2g} s: {' and '.join(written)}")
