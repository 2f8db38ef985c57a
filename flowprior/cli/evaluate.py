"""``flowprior evaluate``: quality of a flow's samples against the number of evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowprior.cli.options import Device, Guidance, Json, Run, Sampler, Seed
from flowprior.cli.output import print_json, print_rich
from flowprior.cli.runs import data_spec, load_run
from flowprior.cli.values import parse_integers


def evaluate(
    run: Run,
    nfe: Annotated[
        str, typer.Option(help="Evaluations of the velocity, with commas between.")
    ] = "1,2,4,8,15,30",
    samples: Annotated[int, typer.Option(help="How many samples to generate at each.")] = 2000,
    sampler: Sampler = "euler",
    guidance: Guidance = 1.0,
    seed: Seed = 0,
    data: Annotated[str | None, typer.Option(help="Data set; by default the one of the run.")] = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="Also write the result to this JSON file.")] = None,
    json: Json = False,
) -> None:
    """Compare samples of RUN with the test split of its data."""
    from flowprior.data import load_data
    from flowprior.evaluation import evaluate as evaluate_flow

    counts = parse_integers(nfe, "--nfe")
    flow = load_run(run, device)
    spec = data_spec(flow, data)
    result = evaluate_flow(
        flow,
        load_data(spec, "train"),
        reference=load_data(spec, "test"),
        nfe=counts,
        sampler=sampler,
        samples=samples,
        guidance=guidance,
        seed=seed,
        progress=True,
    )
    if out is not None:
        result.save(out)
    if json:
        print_json(result.as_dict())
    else:
        print_rich(result.table())
