"""The bundle holds what fits, by its worth, and says what it weighs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.gpu import bundle
from benchmarks.gpu.bundle import MOST, BundleError, Part, fashion_mnist, pack, peers, told


def part(name: str, kilobytes: int, folder: str = "wheels") -> Part:
    return Part(
        name, folder, lambda place: (place / f"{name}.whl").write_bytes(b"0" * kilobytes * 1000) and None
    )


def test_what_fits_goes_in_by_its_worth(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    parts = [part("needed", 30), part("data", 60, "data/fashion-mnist"), part("large", 20), part("small", 10)]
    packed = pack(parts, out, most=0.1)
    assert [(one.name, one.is_in) for one in packed] == [
        ("needed", True), ("data", True), ("large", False), ("small", True),
    ]  # fmt: skip
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == ["bundle.txt", "data/fashion-mnist/data.whl", "wheels/needed.whl", "wheels/small.whl"]
    held = sum(path.stat().st_size for path in out.rglob("*.whl"))
    assert held == 100_000


def test_its_size_is_said_and_what_was_left_out(tmp_path: Path) -> None:
    lines = told(pack([part("needed", 400), part("large", 2000)], tmp_path / "bundle", most=1), tmp_path)
    assert re.fullmatch(r"needed +0\.4 MB", lines[0])
    assert lines[1].endswith("2.0 MB, left out: it does not fit")
    assert f"{tmp_path}: 0.4 MB." in lines[-1]
    assert "torchvision" in lines[-1]


def test_packing_again_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    pack([part("old", 1)], out, most=1)
    pack([part("new", 1)], out, most=1)
    assert [path.name for path in (out / "wheels").iterdir()] == ["new.whl"]
    with pytest.raises(BundleError, match="holds something else than a bundle"):
        pack([part("new", 1)], out / "wheels", most=1)
    assert (out / "wheels" / "new.whl").exists()


def test_the_data_are_the_four_files_or_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.setattr(bundle, "DATA", here)
    with pytest.raises(BundleError, match="found 0; apt-get install dataset-fashion-mnist"):
        fashion_mnist(there)
    names = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images", "labels")]
    for name in names:
        (here / name).write_bytes(b"packed")
    fashion_mnist(there)
    assert sorted(path.name for path in there.iterdir()) == sorted(names)


def test_the_peers_are_those_of_the_benchmarks_and_no_cells() -> None:
    assert [line.split("==")[0] for line in peers()] == ["torchcfm", "flow_matching"]
    assert all("==" in line for line in peers())


def test_at_most_sixty_megabytes_unless_told_otherwise() -> None:
    assert MOST == 60
