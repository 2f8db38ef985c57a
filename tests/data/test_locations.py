"""Which data set a path stands for."""

from __future__ import annotations

import pytest

from flowprior.data.locations import data_set_of_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.npz", "arrays"), ("b.PT", "arrays"), ("c.h5ad", "cells"), ("d.csv", None), ("moons", None)],
)
def test_files_are_known_by_their_ending(name, expected, tmp_path):
    assert data_set_of_path(name) == expected
    assert data_set_of_path(str(tmp_path / name)) == expected


def test_existing_folders_are_pictures(tmp_path):
    assert data_set_of_path(str(tmp_path)) == "folder"
    assert data_set_of_path(str(tmp_path / "absent")) is None
