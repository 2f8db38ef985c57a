"""Options that several commands take."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run or of a saved flow.")]
Sampler = Annotated[
    str, typer.Option(help="Sampler, as name or name:key=value,…; see flowprior list samplers.")
]
Guidance = Annotated[
    float, typer.Option(help="Strength of classifier-free guidance; 1 is none.", callback=_finite)
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Device = Annotated[str, typer.Option(help="auto (CUDA where there is one), or a torch device.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
