"""``flowprior sample``: draw samples from a trained flow into a picture or a file of arrays."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import (
    SINGLE,
    Device,
    Guidance,
    Json,
    Run,
    Sampler,
    Seed,
    load_run,
    parse_conditions,
)

BATCH = 500


def sample(
    run: Run,
    out: Annotated[
        Path, typer.Option(help="File to write: a picture (.png, .svg, .pdf …), or arrays (.npz, .pt).")
    ],
    cond: Annotated[
        str | None, typer.Option(help="Condition: 3, or 0,1,2, or all; the numbers of an embedding.")
    ] = None,
    nfe: Annotated[
        int | None,
        typer.Option(
            help="Evaluations of the velocity, exactly; 15 by default, 0 is the prior.", show_default=False
        ),
    ] = None,
    sampler: Sampler = None,
    guidance: Guidance = 1.0,
    count: Annotated[int | None, typer.Option(min=1, help="Samples of each condition.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Draw samples of RUN and write them to a file."""
    import torch

    from flowprior.cli.samples_file import check_events, check_suffix, save_samples

    check_suffix(out)
    flow = load_run(run, device)
    check_events(out, flow.event_shape)
    conditions = parse_conditions(cond, flow.condition, count)
    generator = torch.Generator(flow.prior.event_dims.device).manual_seed(seed)
    sampler = sampler or flow.default_sampler
    start = time.perf_counter()
    solution = flow.solve(
        conditions,
        (count or SINGLE) if conditions is None else None,
        nfe=nfe,
        sampler=sampler,
        guidance=guidance,
        generator=generator,
        batch_size=BATCH,
    )
    seconds = time.perf_counter() - start
    evaluations = f"{solution.nfe} evaluations, {sampler}" if solution.nfe else "the prior alone"
    save_samples(out, solution.x, conditions, title=f"{run.name}: {evaluations}")
    if json:
        print_json({"out": str(out), "count": len(solution.x), "nfe": solution.nfe, "seconds": seconds})
    else:
        print_rich(f"{len(solution.x)} samples, {solution.nfe} evaluations, {seconds:.2g} s: {out}")
