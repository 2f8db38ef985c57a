"""``flowprior train``: fit a prior, couple, train, save."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowprior.cli.options import Json
from flowprior.cli.output import print_json, print_rich


def train(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Directory of the run.")] = Path("runs/flow"),
    data: Annotated[str | None, typer.Option(help="Data set: a name, name:key=value,… or a path.")] = None,
    prior: Annotated[
        str | None, typer.Option(help="Where the flow starts; see flowprior list priors.")
    ] = None,
    coupling: Annotated[
        str | None, typer.Option(help="Which start belongs to which datum; see flowprior list couplings.")
    ] = None,
    path: Annotated[str | None, typer.Option(help="How they are joined; see flowprior list paths.")] = None,
    model: Annotated[str | None, typer.Option(help="Velocity network; see flowprior list models.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file of the configuration.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set one key; can be repeated."),
    ] = None,
    json: Json = False,
) -> None:
    """Train a flow and leave it in RUN. What is not given comes from --config, else from the defaults."""
    from flowprior.training import RunDirectory, load_config, read_metrics
    from flowprior.training import train as train_flow

    run = RunDirectory(out)
    if resume and config is None and run.config.is_file():
        config = run.config
    options = {name: value for name, value in {"steps": steps, "seed": seed}.items() if value is not None}
    train_flow(
        data,
        prior=prior,
        coupling=coupling,
        path=path,
        model=model,
        out=out,
        resume=resume,
        config=load_config(config, overrides or []),
        progress=True,
        **options,
    )
    last = next((line for line in reversed(read_metrics(run.metrics)) if line["kind"] == "train"), {})
    if json:
        print_json(
            {"run": str(out), "flow": str(run.flow), "step": last.get("step"), "loss": last.get("loss")}
        )
    else:
        reached = f"step {last['step']}, loss {last['loss']:.4g}; " if last else ""
        print_rich(
            f"{reached}the flow is in {run.flow}",
            f"next: flowprior sample {out} --out grid.png, or flowprior evaluate {out}",
        )
