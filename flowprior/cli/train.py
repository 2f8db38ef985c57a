"""``flowprior train``: fit a prior, couple, train, save."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.catalogue import completing
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json, refuse_given_twice
from flowprior.errors import OptionError

if TYPE_CHECKING:
    from flowprior.conditions import Condition
    from flowprior.flow import Flow
    from flowprior.training import RunDirectory

DESIGN, BUDGET, RUN = "What is trained", "How it is trained", "The run and its folder"
"""What options stand under in the help."""


def train(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Directory of the run; by default a new one, runs/DATA-PRIOR-COUPLING-N.",
            show_default=False,
            rich_help_panel=RUN,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set: a name (flowprior list data), name:key=value,… or a path; digits by default.",
            autocompletion=completing("data"),
            rich_help_panel=DESIGN,
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            help="Where the flow starts; see flowprior list priors; latent-gmm by default.",
            autocompletion=completing("priors"),
            rich_help_panel=DESIGN,
        ),
    ] = None,
    coupling: Annotated[
        str | None,
        typer.Option(
            help="Which source sample goes with which datum; see flowprior list couplings; by default what "
            "suits the prior.",
            autocompletion=completing("couplings", "auto"),
            rich_help_panel=DESIGN,
        ),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            help="How they are joined; see flowprior list paths; condot by default.",
            autocompletion=completing("paths"),
            rich_help_panel=DESIGN,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Velocity network; see flowprior list models; by default what suits the data.",
            autocompletion=completing("models", "auto"),
            rich_help_panel=DESIGN,
        ),
    ] = None,
    prediction: Annotated[
        str | None,
        typer.Option(
            help="What the network gives: velocity, residual, preconditioned, average-velocity or epsilon; "
            "auto takes what suits prior and coupling.",
            rich_help_panel=DESIGN,
        ),
    ] = None,
    latent: Annotated[
        str | None,
        typer.Option(
            help="Encoder to the latents that the flow lives in, such as vae; see flowprior list encoders.",
            show_default=False,
            autocompletion=completing("encoders", "none"),
            rich_help_panel=DESIGN,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where encoded data lie; RUN/latents by default.",
            show_default=False,
            rich_help_panel=DESIGN,
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Encode the data into memory.", rich_help_panel=DESIGN)
    ] = False,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps; 2000 by default.", rich_help_panel=BUDGET)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Pairs a step; 128 by default.", rich_help_panel=BUDGET)
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate of AdamW; 0.001 by default.", rich_help_panel=BUDGET),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="auto (CUDA where there is one), or a torch device such as cuda:1.", rich_help_panel=BUDGET
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything random.", rich_help_panel=BUDGET)
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(
            help="Save and stop with code 124 after so long; --resume goes on.",
            show_default=False,
            rich_help_panel=BUDGET,
        ),
    ] = None,
    callbacks: Annotated[
        list[str] | None,
        typer.Option(
            "--callback",
            help="Told of the run, such as tensorboard (flowprior list callbacks); can be repeated.",
            autocompletion=completing("callbacks"),
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in RUN.", rich_help_panel=RUN)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace the run in RUN, whatever it was trained on.", rich_help_panel=RUN
        ),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of the configuration.", rich_help_panel=RUN)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="SECTION.KEY=VALUE", help="Set one key; can be repeated.", rich_help_panel=RUN
        ),
    ] = None,
    json: Json = False,
    given: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Train a flow and leave it in RUN. What is not given comes from --config, else from the defaults."""
    from flowprior.processes import process_count, process_rank
    from flowprior.training import RunDirectory, load_config
    from flowprior.training import train as train_flow
    from flowprior.training.components import resolve_config
    from flowprior.training.run import new_run_folder

    if resume:
        config = _config_of_the_run(out, config)
    if overwrite and out is None:
        raise OptionError("--overwrite needs --out RUN, the directory of the run to replace")
    parts: dict[str, Any] = {"data": data, "prior": prior, "coupling": coupling, "path": path, "model": model}
    parts["latent"] = latent
    if cache is not None and no_cache:
        raise OptionError("--cache and --no-cache exclude each other; leave one of them out")
    place = False if no_cache else cache
    options: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "lr": lr, "prediction": prediction}
    options |= {"device": device, "seed": seed, "max_minutes": max_minutes}
    options = {name: value for name, value in options.items() if value is not None}
    for settings in given:
        options |= settings
    keys = [name for name, value in parts.items() if value is not None]
    keys += [f"training.{name}" for name in options]
    refuse_given_twice(keys, overrides or [])
    base = load_config(config, overrides or [])
    if out is None and process_count() > 1:
        raise OptionError(
            "train: several processes need --out RUN, for each of them would take another folder"
        )
    made = new_run_folder(resolve_config(base, options, **parts)) if out is None else None
    run = RunDirectory(out or made or "")
    try:
        how = {"cache": place, "callbacks": callbacks or [], "resume": resume, "overwrite": overwrite}
        flow = train_flow(**parts, out=run.path, **how, config=base, **options)
    finally:
        if made is not None:
            with suppress(OSError):
                made.rmdir()  # Only where nothing came of it.
    if process_rank() == 0:
        _report(run, json, _asked(flow))


def _asked(flow: Flow) -> str:
    """Return the options of ``sample`` for this flow: the condition, and the file to write."""
    from flowprior.flow.description import samples_ending

    options = "".join(_option_of(flow, name, part) for name, part in flow.condition.named.items())
    ending = samples_ending(flow.event_shape, flow.metadata.get("data"))
    return f"{options}--out {'grid' if ending == 'png' else 'samples'}.{ending}"


def _option_of(flow: Flow, name: str, condition: Condition) -> str:
    """Return the option of ``sample`` for a condition, or for its part of this name; empty with a default."""
    from flowprior.flow.description import tensor_option
    from flowprior.flow.readers import TEXT_ENCODER

    if condition.kind == "tensor":
        return tensor_option(condition)
    if condition.kind == "embeddings" and TEXT_ENCODER in flow.metadata:
        return "--text 'a caption' "
    return f"--part {name}=0 " if name and condition.kind == "labels" else ""


def _config_of_the_run(out: Path | None, config: Path | None) -> Path | None:
    """The file that a resumed run is configured by: the one that is given, else its own.

    Raises:
        OptionError: no run is named, or its configuration is gone.
    """
    from flowprior.training import RunDirectory

    if out is None:
        raise OptionError("--resume needs --out RUN, the directory of the run to go on with")
    run = RunDirectory(out)
    if config is None and run.config.is_file():
        return run.config
    if config is None and run.checkpoints.exists():
        raise OptionError(
            f"{run.config} is missing, without which the run cannot go on; pass its configuration as --config"
        )
    return config


def _report(run: RunDirectory, json: bool, asked: str) -> None:
    """Say where the flow is, what its last loss was, and how to sample it, ``asked`` being the condition."""
    from flowprior.training import read_metrics

    last = next((line for line in reversed(read_metrics(run.metrics)) if line["kind"] == "train"), {})
    picture = max(run.samples.glob("step-*.png"), default=None)
    if json:
        places = {"run": str(run.path), "flow": str(run.flow), "picture": picture and str(picture)}
        print_json(places | {"step": last.get("step"), "loss": last.get("loss")})
        return
    reached = f"step {last['step']}, loss {last['loss']:.4g}; " if last else ""
    folder = shlex.quote(str(run.path))
    print_rich(
        f"{reached}the flow is in {run.flow}",
        *([f"samples beside those of the prior alone: {picture}"] if picture else []),
        f"next: flowprior sample {folder} {asked}",
        f"  or: flowprior evaluate {folder}",
    )
