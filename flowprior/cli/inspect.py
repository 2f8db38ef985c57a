"""``flowprior inspect``: what priors will do, before any network is trained."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flowprior.cli.catalogue import completing
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Json, Seed

if TYPE_CHECKING:
    from flowprior.inspection.inspect import Pairing


def inspect(
    data: Annotated[
        str,
        typer.Option(
            help="Data set: a name (flowprior list data), name:key=value,… or a path.",
            autocompletion=completing("data"),
        ),
    ] = "digits",
    prior: Annotated[
        list[str] | None,
        typer.Option(
            help="Source distribution; can be repeated. See flowprior list priors.",
            autocompletion=completing("priors"),
        ),
    ] = None,
    coupling: Annotated[
        list[str] | None,
        typer.Option(
            help="Coupling of source and data samples; can be repeated. condot by default.",
            autocompletion=completing("couplings"),
        ),
    ] = None,
    examples: Annotated[int, typer.Option(help="Examples to look at; a fifth is held out.")] = 15_000,
    steps: Annotated[int, typer.Option(help="Euler steps of the simulated flow.")] = 4,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Directory for inspection.json and figures.")] = None,
    json: Json = False,
) -> None:
    """Fit priors on a part of the data, measure them on another, rank them with each coupling."""
    from flowprior.data import load_data
    from flowprior.inspection import inspect_priors
    from flowprior.report.terminal import inspection_tables
    from flowprior.training.config import DEFAULT_PRIOR

    found = inspect_priors(
        load_data(data),
        prior or [DEFAULT_PRIOR],
        coupling or ["condot"],
        examples=examples,
        steps=steps,
        seed=seed,
        out=out,
    )
    command = command_of(data, found.pairings[0])
    if json:
        print_json(found.as_dict() | {"reason": found.reason, "command": command})
        return
    print_rich(*inspection_tables(found), *(f"warning: {warning}" for warning in found.warnings))
    written = f"; inspection.json and figures are in {out}" if out is not None else ""
    print_rich(f"{found.seconds:.1f} s{written}", f"recommended: {found.reason}", f"to train it: {command}")


def command_of(data: str, pairing: Pairing) -> str:
    """Return the command that trains a prior with a coupling, quoted for a shell."""
    parts = {"data": data, "prior": pairing.prior, "coupling": pairing.coupling}
    return shlex.join(["flowprior", "train", *(f"--{name}={spec}" for name, spec in parts.items())])
