"""``flowprior inspect``: what priors will do, before any network is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json, Seed


def inspect(
    data: Annotated[str, typer.Option(help="Data set: a name, name:key=value,… or a path.")] = "digits",
    prior: Annotated[
        list[str] | None,
        typer.Option(help="Source that a flow would start from; can be repeated. See flowprior list priors."),
    ] = None,
    coupling: Annotated[
        list[str] | None,
        typer.Option(help="Which source sample belongs to which datum; can be repeated. condot by default."),
    ] = None,
    examples: Annotated[int, typer.Option(help="Examples to look at; a fifth is held out.")] = 15_000,
    steps: Annotated[int, typer.Option(help="Euler steps of the simulated flow.")] = 4,
    suggest: Annotated[
        bool,
        typer.Option(help="Also try a set of mixtures, count modes, and say what --prior auto chooses."),
    ] = True,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Directory for inspection.json and pictures.")] = None,
    json: Json = False,
) -> None:
    """Fit priors on a part of the data, measure them on another, rank them with each coupling."""
    from flowprior.data import load_data
    from flowprior.inspection import inspect_priors
    from flowprior.report.terminal import inspection_tables, modes_line
    from flowprior.training.config import DEFAULT_PRIOR

    found = inspect_priors(
        load_data(data),
        prior or [DEFAULT_PRIOR],
        coupling or ["condot"],
        examples=examples,
        steps=steps,
        seed=seed,
        suggestion=suggest,
        out=out,
    )
    if json:
        print_json(found.as_dict())
        return
    count = found.examples
    if "min" in count:
        print_rich(
            f"{count['conditions']:g} conditions; examples of each: least {count['min']:g}, "
            f"median {count['median']:g}, most {count['max']:g}"
        )
    if found.modes:
        print_rich(modes_line(found))
    print_rich(*inspection_tables(found), *(f"warning: {warning}" for warning in found.warnings))
    if found.choice is not None:
        print_rich(found.choice.data, f"--prior auto takes {found.choice.reason}")
    written = f"; inspection.json and pictures are in {out}" if out is not None else ""
    print_rich(f"{found.seconds:.1f} s{written}")
