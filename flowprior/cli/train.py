"""The command ``flowprior train``: fit a prior, couple, train, save."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.catalogue import completing
from flowprior.cli.commands import print_json, print_rich, process_rank
from flowprior.cli.options import Json, refuse_given_twice
from flowprior.errors import OptionError
from flowprior.training.config import AUTO, NO_LATENT, OPTIONS, RunConfig, TrainingConfig

if TYPE_CHECKING:
    from flowprior.conditions import Condition
    from flowprior.flow import Flow
    from flowprior.training import RunDirectory

DESIGN, BUDGET, RUN = "What is trained", "How it is trained", "The run and its folder"
"""The panels of the help that options are grouped in."""
FAMILIES = {
    "data": ("data",),
    "prior": ("priors", AUTO),
    "coupling": ("couplings", AUTO),
    "path": ("paths",),
    "model": ("models", AUTO),
    "latent": ("encoders", NO_LATENT),
}
"""The parts of a run, and the family and further words whose names complete their option."""


def option_of(key: str, panel: str) -> inspect.Parameter:
    """Return the option of a key of the configuration: its type, help and default are the key's."""
    part: Any = RunConfig if key in FAMILIES else TrainingConfig
    field = part.__pydantic_fields__[key]
    summary = " ".join(field.description.split("\n\n")[0].split()).rstrip(".")
    option = typer.Option(
        help=f"{summary}; {str(field.default).removesuffix('.0')} by default.",
        show_default=False,
        autocompletion=completing(*FAMILIES[key]) if key in FAMILIES else None,
        rich_help_panel=panel,
    )
    annotation = Annotated[field.annotation | None, option]
    return inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def configuration(**values: Any) -> dict[str, Any]:
    """Return the keys of the configuration that options of the command line give."""
    return {key: value for key, value in values.items() if value is not None}


configuration.__dict__["__signature__"] = inspect.Signature(
    [option_of(key, DESIGN) for key in (*FAMILIES, "prediction")]
    + [option_of(key, BUDGET) for key in OPTIONS if key != "prediction"]
)


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
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of encoded data; RUN/latents by default.",
            show_default=False,
            rich_help_panel=DESIGN,
        ),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Encode the data into memory.", rich_help_panel=DESIGN)
    ] = False,
    callbacks: Annotated[
        list[str] | None,
        typer.Option(
            "--callback",
            help="Callback, such as tensorboard (flowprior list callbacks); can be repeated.",
            autocompletion=completing("callbacks"),
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume training from the last checkpoint.", rich_help_panel=RUN),
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
    provided: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Train a flow and leave it in RUN. What is not given comes from --config, else from the defaults."""
    from flowprior.processes.group import process_count
    from flowprior.training import RunDirectory, load_config
    from flowprior.training import train as train_flow

    if resume:
        config = _config_of_the_run(out, config)
    if overwrite and out is None:
        raise OptionError("--overwrite needs --out RUN, the directory of the run to replace")
    if cache is not None and no_cache:
        raise OptionError("--cache and --no-cache exclude each other; leave one of them out")
    values: dict[str, Any] = {}
    for settings in provided:
        values |= settings
    named = {key: values.pop(key) for key in FAMILIES if key in values}
    refuse_given_twice([*named, *(f"training.{key}" for key in values)], overrides or [])
    base = load_config(config, overrides or [])
    if out is None and process_count() > 1:
        raise OptionError(
            "train: several processes need --out RUN, for each of them would take another folder"
        )
    made = _new_folder(base, named, values) if out is None else None
    run = RunDirectory(out or made or "")
    try:
        flow = train_flow(
            **named,
            out=run.path,
            cache=False if no_cache else cache,
            callbacks=callbacks or [],
            resume=resume,
            overwrite=overwrite,
            config=base,
            **values,
        )
    finally:
        if made is not None:
            with suppress(OSError):
                made.rmdir()  # Only where nothing came of it.
    if process_rank() == 0:
        _report(run, json, _sample_options(flow))


def _new_folder(config: RunConfig, parts: dict[str, Any], options: dict[str, Any]) -> Path:
    """Make and return the folder of a new run; ``parts`` then hold the data, so that they are read once."""
    from flowprior.data.base import as_data
    from flowprior.progress.stages import stage
    from flowprior.training.components import resolve_config
    from flowprior.training.run import new_run_folder

    with stage("read the data"):
        parts["data"] = as_data(parts.get("data", config.data))
    return new_run_folder(resolve_config(config, options, **parts))


def _sample_options(flow: Flow) -> str:
    """Return the options of ``sample`` for this flow: the condition, and the file to write."""
    from flowprior.flow.description import samples_ending

    asked = [_option_of(flow, name, part) for name, part in flow.condition.named.items()]
    are_arrays = flow.condition.kind == "parts" and "--cond FILE.npy " in asked
    ending = samples_ending(flow.event_shape, flow.metadata.get("data"))
    options = "--cond FILE.npz " if are_arrays else "".join(asked)
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


train.__dict__["options"] = configuration  # makes options of the configuration's keys


def _config_of_the_run(out: Path | None, config: Path | None) -> Path | None:
    """Return the file that a resumed run is configured by: the one that is given, else its own.

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


def _report(run: RunDirectory, json: bool, options: str) -> None:
    """Print the place of the flow, its last loss, and the command that samples it with ``options``."""
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
        f"next: flowprior sample {folder} {options}",
        f"  or: flowprior evaluate {folder}",
    )
