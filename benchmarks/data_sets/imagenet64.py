"""Write ImageNet at 64 × 64 pixels (Chrabaszcz et al. 2017, arXiv 1707.08819) as arrays that can be mapped.

    python -m benchmarks.data_sets.imagenet64 FOLDER --out runs/data/imagenet64
    flowprior train --data latents:path=runs/data/imagenet64 …

``FOLDER`` holds ``train_data_batch_1.npz`` to ``_10.npz`` and ``val_data.npz`` of image-net.org.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

FILES = {"train": "train_data_batch_*.npz", "test": "val_data.npz"}
"""The pattern of the official files of each split."""


def write_arrays(folder: Path, out: Path) -> None:
    """Write images ``[N, 3, 64, 64]`` as ``x-NAME.npy`` and labels from 0 on as ``labels-NAME.npy``."""
    for split, pattern in FILES.items():
        (out / split).mkdir(parents=True, exist_ok=True)
        for file in folder.glob(pattern):
            with np.load(file) as stored:
                np.save(out / split / f"x-{file.stem}.npy", stored["data"].reshape(-1, 3, 64, 64))
                np.save(out / split / f"labels-{file.stem}.npy", stored["labels"] - 1)


def main(folder: Path, out: Annotated[Path, typer.Option()]) -> None:
    """Write the arrays of the official files in FOLDER."""
    write_arrays(folder, out)


if __name__ == "__main__":
    typer.run(main)
