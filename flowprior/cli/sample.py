"""``flowprior sample``: draw samples from a trained flow into a picture or a file of arrays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flowprior.cli.catalogue import completing
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.conditions import (
    SampleOptions,
    asking_for_conditions,
    read_labels,
    read_request,
    read_rows,
)
from flowprior.cli.options import CONDITIONS, LARGEST_SEED, OUTPUT, SAMPLING, Device, Json, Run, load_run
from flowprior.display.shown import counted
from flowprior.errors import OptionError
from flowprior.storage.user_paths import expanded


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
            help="Condition: labels by name or number, such as 3, or 0,1,2, or all; or a file .npy of "
            "conditions; for several parts a file .npz with an array cond.NAME for each.",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Labels of a part, by name or number, several with commas between, or all; can be repeated.",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Source samples to start from in place of the prior's: a file .npy with one in each row, "
            "as many for each condition, in the order of the conditions.",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Samples to change: a file .npy, with rows as in --source.",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    start: Annotated[
        float | None,
        typer.Option(
            help="Time at which drafts enter, from 0 (no effect) to 0.999 (hardly changed).",
            show_default=False,
            rich_help_panel=SAMPLING,
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
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Sampler, a name (flowprior list samplers) or name:key=value,…; by default what suits the "
            "flow.",
            autocompletion=completing("samplers"),
            rich_help_panel=SAMPLING,
        ),
    ] = None,
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
    guidance: Annotated[
        float,
        typer.Option(help="CFG scale (classifier-free guidance); 1 = off.", rich_help_panel=SAMPLING),
    ] = 1.0,
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
    provided: Sequence[SampleOptions] = (),
) -> None:
    """Draw samples of RUN and write them to a file."""
    from flowprior.cli.samples_file import (
        check_files,
        draws_figure,
        notes_of,
        prior_panels,
        save_samples,
        title_of,
    )
    from flowprior.flow.flow import draw
    from flowprior.pictures import animate as animation_of
    from flowprior.pictures import beside, save_animation, save_figure
    from flowprior.processes.group import launched_group
    from flowprior.progress.stages import stage

    files = [file for file in (out, animate) if file is not None]
    if not files:
        raise OptionError(
            "missing option '--out': give it a file for the samples, or --animate a file for an animation"
        )
    asking, labels = asking_for_conditions(provided, cond), read_labels(part)
    processes = launched_group(device, "sample")
    flow = load_run(run, device)
    check_files(out, animate, flow.event_shape, show_prior)
    for options in provided:
        options.prepare(flow)
    x0 = None if source is None else read_rows(expanded(source), "--source", "source samples")
    drafts = None if draft is None else read_rows(expanded(draft), "--draft", "samples")
    with stage("read the condition"):
        read = partial(asking.read, flow) if asking else partial(read_request, flow, cond)
        given = x0 if drafts is None else drafts
        if given is not None and count is None:
            count = max(1, len(given) // read(1, labels).size)
        request = read(count, labels)
    settings = {
        "sampler": sampler or flow.default_sampler,
        "temperature": temperature,
        "prior_guidance": prior_guidance,
        "guidance": guidance,
        "x0": x0,
        "draft": drafts,
        "start": start,
    }
    for options in provided:
        settings |= options.settings
    draw_samples = partial(draw, flow, request.cond, request.n, seed=seed, **settings)
    began = time.perf_counter()
    with stage("draw samples"):
        solution = draw_samples(nfe=nfe, trajectory=animate is not None, group=processes.group)
    seconds = time.perf_counter() - began
    if not processes.is_main:
        return
    title = title_of(run.name, request, solution.nfe, settings)
    settings |= {"x0": source, "draft": draft}
    notes = notes_of(request, condition=cond, **settings, seed=seed, nfe=solution.nfe, run=run.name)
    if out is not None and draws_figure(out):
        panels = prior_panels(flow, request, draw_samples(nfe=0).x, solution.x) if show_prior else {}
        for options in provided:
            panels = options.panels(flow, request, solution.x, panels)
        panels = panels or {"": (solution.x, request.rows)}
        save_figure(beside(panels, title=title, names=request.names), out, notes)
    elif out is not None:
        facts, names = flow.metadata.get("data"), flow.words.label_names()
        save_samples(out, solution.x, request.cond, facts=facts, names=names, notes=notes)
    if animate is not None:
        assert solution.trajectory is not None
        moving = solution.trajectory, solution.times, request.rows
        save_animation(animation_of(*moving, names=request.names, title=title), animate)
    if json:
        found = {"out": str(files[0]), "count": len(solution.x), "nfe": solution.nfe, "seconds": seconds}
        print_json(found | ({"animation": str(animate)} if animate is not None else {}))
    else:
        drawn = f"{counted(len(solution.x), 'sample')}, {counted(solution.nfe, 'evaluation')}"
        print_rich(f"{drawn}, {seconds:.2g} s: {' and '.join(map(str, files))}")
