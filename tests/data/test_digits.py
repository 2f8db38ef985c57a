"""Digits: the pictures of scikit-learn, once each, in [-1, 1]."""

from __future__ import annotations

import sys

import pytest
import torch
from sklearn.datasets import load_digits

from flowprior.data import load_data


def test_both_splits_together_are_the_whole_set():
    images, labels = load_digits(return_X_y=True)
    parts = [load_data("digits", split) for split in ("train", "test")]
    rows = torch.cat([part.x.flatten(1) for part in parts]) * 8 + 8
    expected = torch.from_numpy(images).float()
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))
    counts = torch.bincount(torch.cat([part.cond for part in parts]))
    assert counts.tolist() == torch.bincount(torch.from_numpy(labels)).tolist()


def test_pictures_and_labels_belong_together():
    images, labels = load_digits(return_X_y=True)
    digits = load_data("digits", "test")
    label_of = {tuple(row): int(label) for row, label in zip(images.tolist(), labels, strict=True)}
    rows = (digits.x.flatten(1) * 8 + 8).tolist()
    assert [label_of[tuple(row)] for row in rows] == digits.cond.tolist()


def test_scikit_learn_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import brings pandas and SciPy's statistics into every process that reads the digits."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert len(load_data("digits")) > 1000


def test_it_is_a_labelled_set_of_pictures():
    digits = load_data("digits")
    assert digits.event_shape == (1, 8, 8)
    assert digits.x.dtype == torch.float32
    assert (float(digits.x.min()), float(digits.x.max())) == (-1.0, 1.0)
    assert digits.condition.kind == "labels"
    assert digits.condition.size == len(digits.class_names) == 10
    assert digits.is_image


def test_options_move_the_split():
    assert len(load_data("digits:test_fraction=0.5", "test")) > len(load_data("digits", "test"))
    assert not torch.equal(load_data("digits", seed=1).x, load_data("digits").x)
