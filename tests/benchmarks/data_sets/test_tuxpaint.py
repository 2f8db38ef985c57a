"""A folder of stamps as Debian's package lays it out, small and written by the test."""

from __future__ import annotations

import pytest
import torch

from benchmarks.data_sets.tuxpaint import DEBIAN_FOLDER
from flowprior.data import load_data
from flowprior.errors import DataNotFoundError, InputError, OptionError
from tests.pictures_on_disk import paint
from tests.words import WordEncoder

TRANSLATIONS = "\nach.utf8=Ngidingidi\nam.utf8=የአሜሪካ ሳንቲም\n"


@pytest.fixture
def stamps(tmp_path):
    for name, caption in {
        "animals/frog": "A frog.",
        "symbols/money/€50": "A coin of 50 cents (0.50 €).",
    }.items():
        picture = paint(tmp_path / f"{name}.png", (9, 0, 0), (20, 15))
        picture.with_suffix(".txt").write_text(caption + TRANSLATIONS, encoding="utf-8")
        picture.with_suffix(".ogg").write_bytes(b"sound")
    paint(tmp_path / "animals" / "frog_mirror.png")
    (tmp_path / "animals" / "frog.svg").write_text("<svg/>")
    (tmp_path / "animals" / "gift.txt").write_text("A gift, without a picture.")
    return tmp_path


def test_the_first_line_is_the_caption(stamps):
    data = load_data(f"tuxpaint:path={stamps},size=16", "test", encoder=WordEncoder())
    assert data.captions == ["A frog.", "A coin of 50 cents (0.50 €)."]
    x, cond = data.batch(torch.arange(2))
    assert x.shape == (2, 3, 16, 16)
    assert torch.equal(cond, WordEncoder().encode(data.captions).pooled)


def test_there_is_no_training_split(stamps):
    for load in (lambda: load_data(f"tuxpaint:path={stamps}"), lambda: load_data("tuxpaint", "train")):
        with pytest.raises(
            OptionError, match="there is no training split, its stamps are to evaluate on alone"
        ):
            load()


def test_what_brings_the_stamps_is_said(tmp_path):
    with pytest.raises(DataNotFoundError, match="install the Debian package tuxpaint-stamps-default"):
        load_data(f"tuxpaint:path={tmp_path}", "test")


def test_a_stamp_without_an_english_caption_is_named(stamps):
    (stamps / "animals" / "frog.txt").write_text(TRANSLATIONS, encoding="utf-8")
    with pytest.raises(InputError, match=r"1 stamp \(frog.png\) has no English caption"):
        load_data(f"tuxpaint:path={stamps}", "test", encoder=None)


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="no stamps: apt-get install tuxpaint-stamps-default")
def test_the_package_has_951_stamps():
    data = load_data("tuxpaint", "test", encoder=None)
    assert len(data) == 951
    assert all(data.captions)
