"""Emoji: what lies in the package, how captions and styles are parted, and files that are damaged."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flowprior.data import Subset, load_data
from flowprior.errors import InputError
from flowprior.extensions.text.emoji import (
    ATTRIBUTIONS,
    EMBEDDED,
    TWINS,
    EmojiData,
    EmojiFile,
    emoji,
    is_held_out,
    part_of,
    parts_of,
)
from tests.extensions.conftest import refused

PARTS = {
    "train": ("train", "seen"),
    "held-out styles": ("test", "seen"),
    "unseen": ("test", "unseen"),
    "scorer": ("train", "scorer"),
}


@pytest.fixture(scope="module")
def file() -> EmojiFile:
    return EmojiFile.read(EMBEDDED)


@pytest.fixture(scope="module")
def parts() -> dict[str, EmojiData]:
    return {name: load_data("emoji", split, captions=captions) for name, (split, captions) in PARTS.items()}


@pytest.fixture
def small(file) -> EmojiFile:
    """The first 40 captions alone, as a user's own file may be."""
    texts = ("captions", "ids", "families", "group_of", "embeddings")
    few = replace(file, **{name: getattr(file, name)[:40] for name in texts})
    return rows_of(few, file.caption_of < 40)


def rows_of(file: EmojiFile, rows: np.ndarray) -> EmojiFile:
    """Keep some pictures of a file."""
    return replace(file, **{n: getattr(file, n)[rows] for n in ("pictures", "caption_of", "style_of")})


# -- what is there ------------------------------------------------------------------------------


def test_the_docstring_counts_what_is_there(parts, file):
    text = emoji.__doc__ or ""
    for data in parts.values():
        assert f"{len(data):,} images of {len(set(data.captions)):,} captions" in text
    assert f"{len(file.pictures):,} images of {len(file.captions):,} captions" in text


def test_pictures_lie_on_white_in_the_range_of_pictures(parts):
    data = parts["train"]
    x, cond = data.batch(torch.arange(500))
    assert (x.dtype, x.is_contiguous(), data.is_image) == (torch.float32, True, True)
    assert (x.shape, cond.shape) == ((500, 3, 32, 32), (500, 384))
    assert float((x[:, :, 0, 0] == 1).all(1).float().mean()) > 0.8
    assert torch.equal(x, data.pictures[:500].permute(0, 3, 1, 2) / 127.5 - 1)


def test_embeddings_have_length_one_and_belong_to_the_captions(parts):
    data = parts["unseen"]
    assert (data.condition.kind, data.cond.dtype) == ("embeddings", torch.float32)
    torch.testing.assert_close(data.cond.norm(dim=1), torch.ones(len(data)))
    pairs = set(zip(data.captions, map(bytes, data.cond.numpy()), strict=True))
    assert len(pairs) == len({row for _, row in pairs}) == len(set(data.captions)) == 313


@pytest.mark.parametrize(("condition", "classes"), [("style", 7), ("group", 10)])
def test_labels_name_what_they_are(condition, classes):
    data = load_data(f"emoji:condition={condition}")
    assert data.condition.kind == "labels"
    assert data.condition.size == len(data.class_names) == classes
    assert sorted(set(data.cond.tolist())) == list(range(classes))
    assert load_data(f"emoji:condition={condition}", "test").class_names == data.class_names
    named = [data.class_names[label] for label in data.cond.tolist()]
    grapes = named[data.captions.index("grapes")]
    assert named == data.styles if condition == "style" else grapes == "food-drink"


def test_captions_are_listed_by_the_code_points_of_their_emoji(parts):
    pairs = {pair for data in parts.values() for pair in zip(data.caption_ids, data.captions, strict=True)}
    assert {("1F600", "grinning face"), ("1F468-200D-1F692", "man firefighter")} < pairs
    assert len(pairs) == len(dict(pairs)) == 1920


@pytest.mark.parametrize("condition", ["caption", "style", "group"])
def test_an_image_text_score_learns_from_captions_of_no_other_part(condition, parts):
    data, rows = load_data(f"emoji:condition={condition}"), torch.arange(5)
    own, part = data.scorer_split(), Subset(data, torch.arange(100, 110), "some")
    assert torch.equal(own.pictures, parts["scorer"].pictures)
    assert set(own.captions).isdisjoint(data.captions)
    assert torch.equal(own.caption_embeddings(rows), parts["scorer"].cond[rows])
    assert torch.equal(data.caption_embeddings(rows), parts["train"].cond[rows]), "whatever the condition"
    assert torch.equal(part.caption_embeddings(rows), data.caption_embeddings(rows + 100))
    assert (own.scorer_split(), len(part.scorer_split())) == (None, len(own)), "a flow of these sees them"


def test_the_package_stays_small_and_names_its_sources(file):
    folder, text = EMBEDDED.parent, ATTRIBUTIONS.read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    assert {source["style"] for source in file.about["sources"]} == set(file.styles)
    assert {source["licence"] for source in file.about["sources"]} <= {"Apache-2.0", "MIT", "CC-BY-4.0"}
    named = {value for source in file.about["sources"] for value in source.values()}
    assert not {
        value for value in named | {"emojibase-data", "Permission is hereby granted"} if value not in text
    }
    assert "Apache License" in (folder / "Apache-2.0.txt").read_text(encoding="utf-8")


# -- how it is parted ---------------------------------------------------------------------------


def test_parts_share_no_picture_and_but_for_held_out_styles_no_caption(parts, file):
    captions = {name: set(data.captions) for name, data in parts.items()}
    pictures = {name: {bytes(each.numpy()) for each in data.pictures} for name, data in parts.items()}
    assert sum(map(len, parts.values())) == len(file.pictures) == len(parts_of(file))
    assert captions["held-out styles"] <= captions["train"]
    for one, other in itertools.combinations(("train", "unseen", "scorer"), 2):
        assert not captions[one] & captions[other]
        assert not pictures[one] & pictures[other]


def test_styles_that_are_twins_are_held_out_together_and_every_style_is_tested(parts):
    def drawn(data):
        return {
            (text, TWINS.get(style, style)) for text, style in zip(data.captions, data.styles, strict=True)
        }

    assert not drawn(parts["train"]) & drawn(parts["held-out styles"])
    assert all(len(set(parts[name].styles)) == 7 for name in ("train", "held-out styles", "unseen"))


def test_families_stay_together(file):
    pairs = {
        (file.families[place], part.split("-")[1])
        for place, part in zip(file.caption_of.tolist(), parts_of(file), strict=True)
    }
    assert len(pairs) == len(dict(pairs)), "one part for each family"
    family = {text: file.families[place] for place, text in enumerate(file.captions)}
    assert family["man running"] == family["woman running: facing right"]
    assert family["flag: Norway"] == family["flag: Svalbard & Jan Mayen"]
    assert family["cat"] != family["dog"]


def test_hashes_are_fixed():
    found = [part_of(family) for family in ("cat", "dog", "grapes", "running", "rocket", "tractor")]
    assert found == ["scorer", "seen", "seen", "scorer", "seen", "seen"]


def test_a_caption_that_is_drawn_in_the_held_out_style_alone_is_trained_on():
    captions, styles = np.array([0, 0, 1, 2, 2, 2]), np.array(["noto", "twemoji"])
    held = is_held_out("dog", captions, styles[[0, 1, 0, 0, 0, 1]])
    other = is_held_out("dog", captions, styles[[1, 0, 1, 1, 1, 0]])
    found = {tuple(held.tolist()), tuple(other.tolist())}
    expected = {(True, False, False, True, True, False), (False, True, False, False, False, True)}
    assert found == expected, "the family decides which style, not the order"


# -- files --------------------------------------------------------------------------------------


def test_a_file_of_another_size_is_read_by_path(small, tmp_path):
    file = tmp_path / "emoji-64.npz"
    replace(small, pictures=small.pictures.repeat(2, axis=1).repeat(2, axis=2)).write(file)
    first, large = (load_data(s).batch(torch.tensor([0]))[0] for s in ("emoji", f"emoji:path={file}"))
    assert large.shape == (1, 3, 64, 64)
    assert torch.equal(large[:, :, ::2, ::2], first)


def test_a_file_without_the_scorers_pictures_has_none_to_learn_from(small, tmp_path):
    is_scorers = parts_of(small) == "train-scorer"
    small.write(tmp_path / "whole.npz")
    rows_of(small, ~is_scorers).write(tmp_path / "emoji.npz")
    assert load_data(f"emoji:path={tmp_path / 'emoji.npz'}").scorer_split() is None
    own = load_data(f"emoji:path={tmp_path / 'whole.npz'}").scorer_split()
    assert (own.event_shape, len(own)) == ((3, *small.pictures.shape[1:3]), is_scorers.sum())


def overwrite(file: Path) -> None:
    """Overwrite the middle of a file."""
    content = file.read_bytes()
    file.write_bytes(content[:30_000] + b"\0" * 100 + content[30_100:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:30_000]), "cut short"),
        (lambda file: file.write_bytes(b"no archive"), "cut short"),
        (overwrite, "cannot be read as a file of emoji"),
        (lambda file: np.savez(file, x=np.zeros((3, 2))), "header is not a file in the archive"),
    ],
    ids=["half", "other", "overwritten", "of arrays"],
)
def test_damaged_files_are_refused_in_one_line(damage, message, small, tmp_path):
    small.write(tmp_path / "emoji.npz")
    damage(tmp_path / "emoji.npz")
    with refused(rf"emoji\.npz: .*{message}.*build it", InputError):
        load_data(f"emoji:path={tmp_path / 'emoji.npz'}")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("captions=scorer", "captions='scorer' has no test split; test on captions='unseen'"),
        ("captions=unsen", "did you mean 'unseen'"),
        ("condition=colour", "choose one of caption, style, group"),
        ("condition=caption+", "condition"),
        ("condition=caption+colour", "condition"),
        ("condition=style+style", "condition"),
        ("condition=3", "condition"),
        ("path=absent.npz", "no file"),
    ],
)
def test_options_that_are_not_possible(option, message):
    with refused(message):
        load_data(f"emoji:{option}", "test")
