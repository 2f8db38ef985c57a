"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run or of a saved flow.")]
Sampler = Annotated[
    str, typer.Option(help="Sampler, as name or name:key=value,…; see flowprior list samplers.")
]
Guidance = Annotated[float, typer.Option(help="Strength of classifier-free guidance; 1 is none.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random.")]
Device = Annotated[str, typer.Option(help="auto (CUDA where there is one), or a torch device.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on stdout.")]
