"""Emoji: what lies in the package, how captions and styles are parted, and files that are damaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flowprior.data import Subset, load_data
from flowprior.errors import DataNotFoundError, InputError, OptionError
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
    rows = file.caption_of < 40
    texts = {
        name: getattr(file, name)[:40] for name in ("captions", "ids", "families", "group_of", "embeddings")
    }
    pictures = {name: getattr(file, name)[rows] for name in ("pictures", "caption_of", "style_of")}
    return replace(file, **texts, **pictures)


def pictures_of(data: EmojiData) -> list[bytes]:
    return [picture.numpy().tobytes() for picture in data.pictures]


# -- what is there ------------------------------------------------------------------------------


def test_the_docstring_counts_what_is_there(parts, file):
    text = emoji.__doc__ or ""
    for data in parts.values():
        assert f"{len(data):,} images of {len(set(data.captions)):,} captions" in text
    assert f"{len(file.pictures):,} images of {len(file.captions):,} captions" in text


def test_pictures_lie_on_white_in_the_range_of_pictures(parts):
    data = parts["train"]
    x, cond = data.batch(torch.arange(500))
    assert x.shape == (500, 3, 32, 32)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)
    assert data.is_image
    assert float((x[:, :, 0, 0] == 1).all(1).float().mean()) > 0.8
    assert torch.equal(x, data.pictures[:500].permute(0, 3, 1, 2) / 127.5 - 1)
    assert cond.shape == (500, 384)


def test_embeddings_have_length_one_and_belong_to_the_captions(parts):
    data = parts["unseen"]
    assert data.condition.kind == "embeddings"
    assert data.cond.dtype == torch.float32
    torch.testing.assert_close(data.cond.norm(dim=1), torch.ones(len(data)))
    pairs = set(zip(data.captions, map(bytes, data.cond.numpy()), strict=True))
    assert len(pairs) == len({row for _, row in pairs}) == len(set(data.captions)) == 313


def test_near_captions_have_near_embeddings(file):
    embeddings = torch.from_numpy(file.embeddings).float()
    cat, near, far = (file.captions.index(text) for text in ("cat", "cat face", "balance scale"))
    assert embeddings[cat] @ embeddings[near] > embeddings[cat] @ embeddings[far] + 0.3


@pytest.mark.parametrize(("condition", "classes"), [("style", 7), ("group", 10)])
def test_labels_name_what_they_are(condition, classes, parts):
    data = load_data(f"emoji:condition={condition}")
    assert data.condition.kind == "labels"
    assert data.condition.size == len(data.class_names) == classes
    assert sorted(set(data.cond.tolist())) == list(range(classes))
    assert load_data(f"emoji:condition={condition}", "test").class_names == data.class_names
    if condition == "style":
        assert [data.class_names[label] for label in data.cond.tolist()] == data.styles
    else:
        grapes = data.captions.index("grapes")
        assert data.class_names[data.cond[grapes]] == "food-drink"


def test_captions_are_listed_by_the_code_points_of_their_emoji(parts):
    everything = {}
    for data in parts.values():
        everything |= dict(zip(data.caption_ids, data.captions, strict=True))
    assert everything["1F600"] == "grinning face"
    assert everything["1F468-200D-1F692"] == "man firefighter"
    assert len(everything) == len(set(everything.values())) == 1920


@pytest.mark.parametrize("condition", ["caption", "style", "group"])
def test_an_image_text_score_learns_from_captions_of_no_other_part(condition, parts):
    data = load_data(f"emoji:condition={condition}")
    own, rows = data.scorer_split(), torch.arange(5)
    assert torch.equal(own.pictures, parts["scorer"].pictures)
    assert set(own.captions).isdisjoint(data.captions)
    assert torch.equal(own.caption_embeddings(rows), parts["scorer"].cond[rows])
    assert torch.equal(data.caption_embeddings(rows), parts["train"].cond[rows]), "whatever the condition"
    assert own.scorer_split() is None, "a flow that is trained on them sees them"
    part = Subset(data, torch.arange(100, 110), "some")
    assert torch.equal(part.caption_embeddings(rows), data.caption_embeddings(rows + 100))
    assert len(part.scorer_split()) == len(own)


def test_the_package_stays_small_and_names_its_sources(file):
    folder = EMBEDDED.parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
    text = ATTRIBUTIONS.read_text(encoding="utf-8")
    assert {source["style"] for source in file.about["sources"]} == set(file.styles)
    for source in file.about["sources"]:
        assert all(value in text for value in source.values()), source
        assert source["licence"] in ("Apache-2.0", "MIT", "CC-BY-4.0")
    assert "emojibase-data" in text
    assert "Permission is hereby granted" in text
    assert "Apache License" in (folder / "Apache-2.0.txt").read_text(encoding="utf-8")


# -- how it is parted ---------------------------------------------------------------------------


def test_no_picture_is_in_two_parts(parts, file):
    assert sum(len(data) for data in parts.values()) == len(file.pictures) == len(parts_of(file))


def test_captions_are_seen_unseen_or_the_scorers(parts):
    seen, unseen, scorer = (set(parts[name].captions) for name in ("train", "unseen", "scorer"))
    assert not seen & unseen
    assert not seen & scorer
    assert not unseen & scorer
    assert set(parts["held-out styles"].captions) <= seen


def test_families_stay_together(file):
    parts = parts_of(file)
    captions_of = {}
    for place, part in zip(file.caption_of.tolist(), parts, strict=True):
        captions_of.setdefault(file.families[place], set()).add(part.split("-")[1])
    assert all(len(found) == 1 for found in captions_of.values())
    family = {text: file.families[place] for place, text in enumerate(file.captions)}
    assert family["man running"] == family["woman running: facing right"]
    assert family["flag: Norway"] == family["flag: Svalbard & Jan Mayen"]
    assert family["cat"] != family["dog"]


def test_no_picture_of_another_part_equals_one_of_an_unseen_or_a_scorers_caption(parts):
    train = set(pictures_of(parts["train"]))
    for name in ("unseen", "scorer"):
        assert not train & set(pictures_of(parts[name]))
    assert not set(pictures_of(parts["unseen"])) & set(pictures_of(parts["scorer"]))


def test_styles_that_are_twins_are_held_out_together(parts):
    def drawn(data):
        return {
            (text, TWINS.get(style, style)) for text, style in zip(data.captions, data.styles, strict=True)
        }

    assert set(TWINS) | set(TWINS.values()) <= set(parts["train"].styles)
    assert not drawn(parts["train"]) & drawn(parts["held-out styles"])


def test_every_style_is_trained_on_and_tested(parts):
    for name in ("train", "held-out styles", "unseen"):
        assert len(set(parts[name].styles)) == 7


def test_the_training_split_is_the_same_whatever_is_tested():
    seen, unseen = (load_data("emoji", "train", captions=captions) for captions in ("seen", "unseen"))
    assert torch.equal(seen.pictures, unseen.pictures)


def test_hashes_are_fixed():
    found = [part_of(family) for family in ("cat", "dog", "grapes", "running", "rocket", "tractor")]
    assert found == ["scorer", "seen", "seen", "scorer", "seen", "seen"]


def test_a_caption_that_is_drawn_in_the_held_out_style_alone_is_trained_on():
    captions = np.array([0, 0, 1, 2, 2, 2])
    held = is_held_out("dog", captions, np.array(["noto", "twemoji", "noto", "noto", "noto", "twemoji"]))
    other = is_held_out(
        "dog", captions, np.array(["twemoji", "noto", "twemoji", "twemoji", "twemoji", "noto"])
    )
    assert held.tolist() != other.tolist(), "the family decides which style, not the order"
    assert not held[2]
    assert not other[2]
    assert held[:2].tolist() == other[:2].tolist()[::-1]
    assert held[3] == held[4] != held[5]


# -- files --------------------------------------------------------------------------------------


def test_a_file_of_another_size_is_read_by_path(small, tmp_path):
    larger = replace(small, pictures=small.pictures.repeat(2, axis=1).repeat(2, axis=2))
    larger.write(tmp_path / "emoji-64.npz")
    data = load_data(f"emoji:path={tmp_path / 'emoji-64.npz'}")
    assert data.event_shape == (3, 64, 64)
    assert torch.equal(
        data.batch(torch.tensor([0]))[0][:, :, ::2, ::2], load_data("emoji").batch(torch.tensor([0]))[0]
    )


def test_a_file_without_the_scorers_pictures_has_none_to_learn_from(small, tmp_path):
    rows = parts_of(small) != "train-scorer"
    kept = {name: getattr(small, name)[rows] for name in ("pictures", "caption_of", "style_of")}
    replace(small, **kept).write(tmp_path / "emoji.npz")
    assert load_data(f"emoji:path={tmp_path / 'emoji.npz'}").scorer_split() is None
    small.write(tmp_path / "whole.npz")
    own = load_data(f"emoji:path={tmp_path / 'whole.npz'}").scorer_split()
    assert own.event_shape == (3, *small.pictures.shape[1:3])
    assert len(own) == int((~rows).sum())


def test_equal_contents_give_equal_bytes(small, tmp_path):
    small.write(tmp_path / "a.npz")
    EmojiFile.read(tmp_path / "a.npz").write(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "cut short"),
        (lambda content: b"no archive", "cut short"),
        (
            lambda content: content[:30_000] + b"\0" * 100 + content[30_100:],
            "cannot be read as a file of emoji",
        ),
    ],
    ids=["half", "other", "overwritten"],
)
def test_damaged_files_are_refused_in_one_line(damage, message, small, tmp_path):
    small.write(tmp_path / "emoji.npz")
    (tmp_path / "emoji.npz").write_bytes(damage((tmp_path / "emoji.npz").read_bytes()))
    with pytest.raises(InputError, match=rf"emoji\.npz: .*{message}.*build it") as caught:
        load_data(f"emoji:path={tmp_path / 'emoji.npz'}")
    assert "\n" not in str(caught.value)


def test_other_archives_are_refused(tmp_path):
    np.savez(tmp_path / "arrays.npz", x=np.zeros((3, 2)))
    with pytest.raises(InputError, match="header is not a file in the archive"):
        load_data(f"emoji:path={tmp_path / 'arrays.npz'}")


def test_options_that_are_not_possible():
    with pytest.raises(OptionError, match="captions='scorer' has no test split; test on captions='unseen'"):
        load_data("emoji:captions=scorer", "test")
    with pytest.raises(OptionError, match="did you mean 'unseen'"):
        load_data("emoji:captions=unsen", "test")
    with pytest.raises(OptionError, match="choose one of caption, style, group"):
        load_data("emoji:condition=colour")
    with pytest.raises(DataNotFoundError, match="no file"):
        load_data("emoji:path=absent.npz")
