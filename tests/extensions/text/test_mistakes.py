"""Captions that do not fit, or are strange and right, by the command line: one clear line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import SHORT, Call, succeed
from tests.data_folders import write_texts
from tests.text_models import BERT_LIMIT, save_bert

CAPTIONS = [f"a {colour} {animal}" for colour in ("red", "blue") for animal in ("cat", "dog")]
PARTS = ["--prior", "learned-mean:epochs=2,hidden=8,depth=1,holdout=0", "--coupling", "condot"]
PARTS += ["--model", "mlp:width=8,depth=1", "--steps", "2", *SHORT, "--set", "training.sample_every=0"]


def data(folder: Path, bert: Path) -> str:
    return f"image-text:path={folder},size=8,test_fraction=0,encoder=hugging-face:path={bert}"


def test_an_encoder_of_the_same_width_and_other_weights_gives_no_evaluation(
    call: Call, bert: Path, tmp_path: Path
) -> None:
    pictures, run = write_texts(tmp_path / "pictures", CAPTIONS), tmp_path / "run"
    answer = call("train", "--data", data(pictures, bert), "--out", run, *PARTS)
    assert answer.code == 0, answer.err
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    other = data(pictures, save_bert(tmp_path / "other", seed=1))
    answer = call("evaluate", run, "--data", other, "--samples", "4")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert "trained on embeddings of" in answer.err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


STRANGE = [
    ("", None),
    (("a sleepy red cat " * 600)[:10_000], f"more than the {BERT_LIMIT} tokens that the model takes"),
    ("眠い犬", "knows no word of 1 of 4 texts"),
    ("a 猫", None),
]


@pytest.mark.parametrize(("caption", "warning"), STRANGE, ids=["empty", "long", "unknown", "known"])
def test_captions_that_are_strange_are_trained_on_with_one_line_at_most(
    call: Call, bert: Path, tmp_path: Path, caption: str, warning: str | None
) -> None:
    pictures = write_texts(tmp_path / "data", [caption, *CAPTIONS[1:]])
    answer = call("train", "--data", data(pictures, bert), "--out", tmp_path / "run", *PARTS)
    assert answer.code == 0, answer.err
    lines = [line for line in answer.err.splitlines() if "warning" in line]
    assert len(lines) == (warning is not None), answer.err
    assert warning is None or warning in lines[0]
    options = ["--text", caption, "--n", "1", "--nfe", "1", "--out", tmp_path / "s.png"]
    answer = succeed("sample", tmp_path / "run", *options)
    assert len(answer.err.splitlines()) == (warning is not None)
