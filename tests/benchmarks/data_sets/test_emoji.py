"""How the data set emoji is built, on two icon sets of a few squares, in archives as npm packs them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.data_sets import emoji as script
from benchmarks.data_sets.attributions import attributions
from benchmarks.data_sets.captions import family, joined_families
from benchmarks.data_sets.drawings import render, spelled
from benchmarks.data_sets.packages import Package
from flowprior.errors import DataNotFoundError, InputError
from flowprior.extensions.text.emoji import EmojiFile

ENTRIES = [
    {"label": "grinning face", "hexcode": "1F600", "group": 0, "order": 1},
    {"label": "regional indicator A", "hexcode": "1F1E6"},
    {"label": "flag: Norway", "hexcode": "1F1F3-1F1F4", "group": 9, "order": 5},
    {"label": "flag: Bouvet Island", "hexcode": "1F1E7-1F1FB", "group": 9, "order": 4},
    {"label": "eggplant", "hexcode": "1F346", "group": 4, "order": 3},
    {"label": "never drawn", "hexcode": "1FFFF", "group": 4, "order": 6},
    {
        "label": "man running",
        "hexcode": "1F3C3-200D-2642-FE0F",
        "group": 1,
        "order": 2,
        "skins": [{"label": "man running: dark skin tone", "hexcode": "1F3C3-1F3FF-200D-2642-FE0F"}],
    },
]
SQUARES = {
    "grinning-face": "gold",
    "eggplant": "purple",
    "running-man": "blue",
    "flag-for-norway": "red",
    "flag-for-bouvet-island": "red",
}
COLOURS = {"gold": (255, 215, 0), "purple": (128, 0, 128), "blue": (0, 0, 255), "red": (255, 0, 0)}


def square(colour):
    return {"body": f'<rect width="8" height="16" fill="{colour}"/>'}


def archive(folder, name, files) -> Package:
    package = Package(name, "1.0.0", "")
    with tarfile.open(folder / package.archive, "w:gz") as packed:
        for member, value in files.items():
            content = json.dumps(value).encode()
            entry = tarfile.TarInfo(f"package/{member}")
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha512((folder / package.archive).read_bytes()).digest()
    return replace(package, sha512=base64.b64encode(digest).decode())


def icon_set(names, characters, licence="MIT"):
    info = {
        "name": "Squares",
        "author": {"name": "Somebody", "url": "https://squares.example"},
        "license": {"spdx": licence, "url": "https://licence.example"},
    }
    icons = {"width": 16, "height": 16, "icons": {name: square(SQUARES[name]) for name in names}}
    icons["icons"]["grinning-face"] = square("gold")
    icons["aliases"] = {"brinjal": {"parent": "eggplant"}} if "eggplant" in names else {}
    return {"icons.json": icons, "chars.json": characters, "info.json": info}


@pytest.fixture
def packages(tmp_path):
    names = {"1F346": "AUBERGINE"}
    groups = {"groups": {"0": "smileys", "1": "people", "4": "food", "9": "flags"}}
    captions = archive(
        tmp_path,
        "names",
        {"en/data.json": ENTRIES, "meta/groups.json": groups, "meta/unicode-names.json": names},
    )
    first = icon_set(SQUARES, {"1f3c3-200d-2642": "running-man"})
    second = icon_set(["flag-for-norway"], {})
    second["icons.json"]["icons"]["aubergine"] = square("purple")
    return captions, {"a": archive(tmp_path, "@sets/a", first), "b": archive(tmp_path, "@sets/b", second)}


class Encoder:
    def identity(self):
        return f"lengths words sha256 {'0' * 64}"

    def encode(self, texts):
        return SimpleNamespace(pooled=torch.tensor([[len(text), 1.0] for text in texts]))


def flat(drawing, size):
    """The colour that an SVG names, everywhere."""
    colour = next(value for name, value in COLOURS.items() if f'"{name}"' in drawing)
    return np.full((size, size, 3), colour, dtype=np.uint8)


def built(tmp_path, packages, size=4, draw=flat) -> EmojiFile:
    captions, styles = packages
    return script.build(tmp_path, size, Encoder(), captions=captions, styles=styles, draw=draw)


def test_every_caption_that_is_drawn_is_there_once_in_unicodes_order(tmp_path, packages):
    file = built(tmp_path, packages)
    assert file.captions == [
        "grinning face",
        "man running",
        "eggplant",
        "flag: Bouvet Island",
        "flag: Norway",
    ]
    assert file.ids == ["1F600", "1F3C3-200D-2642", "1F346", "1F1E7-1F1FB", "1F1F3-1F1F4"]
    assert file.groups == ["smileys", "people", "food", "flags"]
    assert [file.groups[place] for place in file.group_of] == ["smileys", "people", "food", "flags", "flags"]


def test_drawings_are_found_by_the_names_of_the_set_of_others_and_of_unicode(tmp_path, packages):
    file = built(tmp_path, packages)
    found = [
        (file.captions[caption], file.styles[style])
        for caption, style in zip(file.caption_of, file.style_of, strict=True)
    ]
    assert found == [
        ("grinning face", "a"),
        ("grinning face", "b"),
        ("man running", "a"),
        ("eggplant", "a"),
        ("eggplant", "b"),
        ("flag: Bouvet Island", "a"),
        ("flag: Norway", "a"),
        ("flag: Norway", "b"),
    ]
    assert [tuple(picture[0, 0]) for picture in file.pictures[2:5]] == [
        (0, 0, 255),
        (128, 0, 128),
        (128, 0, 128),
    ]


def test_captions_with_a_picture_in_common_are_one_family(tmp_path, packages):
    file = built(tmp_path, packages)
    assert file.families[3] == file.families[4] == "flag bouvet island"
    assert file.families[1] == "running"


def test_two_builds_are_equal_byte_for_byte_and_can_be_read(tmp_path, packages):
    for name in ("one.npz", "two.npz"):
        built(tmp_path, packages).write(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    file = EmojiFile.read(tmp_path / "one.npz")
    assert file.embeddings[:, 0].tolist() == [len(text) for text in file.captions]
    assert file.empty_embedding.tolist() == [0, 1]


def test_resvg_lays_the_drawings_on_white(tmp_path, packages):
    pytest.importorskip("resvg_py", reason="the extra emoji is not installed")
    file = built(tmp_path, packages, size=16, draw=render)
    assert (file.pictures[2, :, :8] == (0, 0, 255)).all()
    assert (file.pictures[2, :, 8:] == 255).all()
    assert file.pictures.shape == (8, 16, 16, 3)


def test_names_and_families_of_captions():
    assert spelled("flag: Côte d’Ivoire") == "flag-cote-divoire"
    assert spelled("keycap: #") == "keycap-hash"
    assert family("woman running facing right") == family("person running") == "running"
    assert family("woman and man holding hands") == family("people holding hands") == "holding hands"
    assert family("man") == family("older person") == "person"
    assert family("flag: Norway") != family("flag: Denmark")
    assert joined_families(["c", "b", "a", "d"], [(0, 1), (1, 2)]) == ["a", "a", "a", "d"]


def test_attributions_name_every_work_and_its_licence(tmp_path, packages):
    text = attributions(built(tmp_path, packages).about, 4)
    assert text.count("[Squares](https://squares.example) | Somebody | [MIT](https://licence.example)") == 2
    assert "npm @sets/a 1.0.0" in text
    assert "4 × 4 pixels" in text


def test_a_licence_that_asks_for_more_is_refused(tmp_path, packages):
    captions, styles = packages
    styles = styles | {"c": archive(tmp_path, "@sets/c", icon_set(["eggplant"], {}, "CC-BY-SA-4.0"))}
    with pytest.raises(InputError, match=r"@sets/c: .* got CC-BY-SA-4\.0; leave it out"):
        built(tmp_path, (captions, styles))


def test_other_archives_than_the_pinned_ones_are_refused(tmp_path, packages):
    captions, styles = packages
    with pytest.raises(InputError, match=r"sets-a-1\.0\.0\.tgz: expected sha512 AAAA"):
        built(tmp_path, (captions, styles | {"a": replace(styles["a"], sha512="A" * 88)}))
    with pytest.raises(DataNotFoundError, match="npm pack names@2"):
        built(tmp_path, (replace(captions, version="2"), styles))
    with pytest.raises(InputError, match=r"has no file absent\.json"):
        captions.read_json(tmp_path, "absent.json")
