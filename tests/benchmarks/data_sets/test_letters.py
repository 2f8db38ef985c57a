"""How the data set letters is built and read, on fonts of matplotlib in archives as npm packs them."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
import torch

from benchmarks.data_sets import letters as script
from benchmarks.data_sets.fonts import problem_of, render
from benchmarks.data_sets.letters_packages import LICENCES, MOST_STYLES, choose_families, read_families
from benchmarks.data_sets.packages import Package
from flowprior.data import load_data
from flowprior.data.splits import split_validation
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.user_paths import package_file

FAMILIES = {"abeezee": "cmss10", "alata": "cmr10", "lora": "cmtt10"}
"""The font in the archive of each family; by the hashes of their names the first one is in the test split."""


def font(name: str) -> bytes:
    missing = FileNotFoundError("matplotlib brings no such font")
    return package_file("matplotlib", f"mpl-data/fonts/ttf/{name}.ttf", missing).read_bytes()


def archive(folder, family, fonts, licence="OFL-1.1") -> tuple[str, str]:
    """Write an archive with the fonts of a family; return the name and version of the package."""
    package = Package(f"@fontsource/{family}", "1.0.0", "")
    contents = {f"files/{family}-latin-{style}.woff": content for style, content in fonts.items()}
    contents["package.json"] = json.dumps({"license": licence}).encode()
    with tarfile.open(folder / package.archive, "w:gz") as packed:
        for member, content in contents.items():
            entry = tarfile.TarInfo(f"package/{member}")
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return package.name, package.version


def chosen(folder):
    named = [archive(folder, family, {"400-normal": font(name)}) for family, name in FAMILIES.items()]
    return choose_families(named, folder)[0]


@pytest.fixture
def built(tmp_path, monkeypatch):
    families = chosen(tmp_path)
    monkeypatch.setattr(script, "read_families", lambda: families)
    script.main(size=8, out=tmp_path / "letters.npz", packages=tmp_path)
    return tmp_path / "letters.npz"


def margins(image: np.ndarray) -> tuple[int, int, int, int]:
    """Return the empty rows and columns of an image: above, below, left and right of its ink."""
    rows, columns = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
    return rows[0], len(image) - 1 - rows[-1], columns[0], len(image) - 1 - columns[-1]


def test_glyphs_lie_in_the_middle():
    images = render(font("cmr10"), 64)
    for image in images:
        above, below, left, right = margins(image)
        assert abs(above - below) <= 1
        assert abs(left - right) <= 1
    assert images.min() == 0
    assert images.max() == 255


def test_fonts_without_characters_do_not_fit():
    assert problem_of(font("cmss10")) is None
    assert "lacks ABC" in str(problem_of(font("STIXSizOneSymReg")))


def test_families_are_pinned_with_at_most_four_styles_of_a_permissive_licence(tmp_path):
    styles = (
        "700-italic",
        "900-normal",
        "300-normal",
        "400-italic",
        "700-normal",
        "400-normal",
        "100-normal",
    )
    sans = font("cmss10")
    named = [
        archive(tmp_path, "abel", dict.fromkeys(styles, sans)),
        archive(tmp_path, "ubuntu", {"400-normal": sans}, licence="UFL-1.0"),
        archive(tmp_path, "thin", {"100-normal": sans}),
        archive(tmp_path, "sizes", {"400-normal": font("STIXSizOneSymReg")}),
    ]
    families, left_out = choose_families(named, tmp_path)
    assert [family.family for family in families] == ["abel"]
    assert families[0].styles == ("400-normal", "700-normal", "400-italic", "300-normal")
    assert families[0].read_json(tmp_path, "package.json") == {"license": "OFL-1.1"}  # of the pinned digest
    assert left_out["@fontsource/ubuntu"] == "its licence is UFL-1.0"
    assert left_out["@fontsource/thin"] == "it has no such style"
    assert "lacks" in left_out["@fontsource/sizes"]


def test_families_of_one_name_or_of_the_same_drawings_are_one_group(tmp_path):
    fonts = {
        "barlow": "cmb10",
        "barlow-slab": "cmtt10",
        "lora": "cmr10",
        "roboto": "cmss10",
        "heebo": "cmss10",
    }
    named = [archive(tmp_path, family, {"400-normal": font(name)}) for family, name in fonts.items()]
    families, _ = choose_families(named, tmp_path)
    groups = {family.family: family.group for family in families}
    assert groups == {
        "barlow": "barlow",
        "barlow-slab": "barlow",
        "lora": "lora",
        "roboto": "heebo",
        "heebo": "heebo",
    }


def test_the_data_set_has_each_family_in_one_split(built):
    train, test = (load_data(f"letters:path={built}", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (2 * 62, 62)
    assert train.event_shape == test.event_shape == (1, 8, 8)
    x, labels = test.batch(torch.arange(62))
    expected = torch.from_numpy(render(font("cmss10"), 8)).float() / 127.5 - 1
    torch.testing.assert_close(x[:, 0], expected)
    assert labels.tolist() == list(range(62))
    assert test.class_names[10] == "K"
    assert test.class_names[61] == "9"
    assert train.groups.unique(return_counts=True)[1].tolist() == [62, 62]


def test_validation_holds_out_whole_families(built):
    kept, held = split_validation(load_data(f"letters:path={built}"), 10)
    assert (len(kept), len(held)) == (62, 62)
    assert not set(kept.groups.tolist()) & set(held.groups.tolist())


def test_absent_and_damaged_files_are_refused(tmp_path, monkeypatch, built):
    monkeypatch.setenv("FLOWPRIOR_CACHE", str(tmp_path))
    with pytest.raises(
        DataNotFoundError, match=r"letters-28\.npz; .* `python -m benchmarks.data_sets.letters`"
    ):
        load_data("letters")
    built.write_bytes(built.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read as a file of letters"):
        load_data(f"letters:path={built}")
    np.savez(built, glyphs=np.zeros((2, 10, 8, 8), np.uint8), groups=np.array(["a", "b"]))
    with pytest.raises(InputError, match=r"expected uint8 \[2, 62, size, size\], got uint8 \[2, 10, 8, 8\]"):
        load_data(f"letters:path={built}")


def test_the_pinned_families_have_the_counts_that_the_documentation_says():
    families = read_families()
    assert len({family.name for family in families}) == 240
    assert all(family.licence in LICENCES and 1 <= len(family.styles) <= MOST_STYLES for family in families)
    images = Counter()
    for family in families:
        images[script.is_tested(family.group)] += 62 * len(family.styles)
    assert (images[False], images[True]) == (33_046, 7_874)
