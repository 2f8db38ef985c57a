"""The model card of a saved flow: what it tells of the training and of an evaluation, and whose it is."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from flowprior.conditions import Condition
from flowprior.data import TensorData, load_data
from flowprior.data.base import data_digest
from flowprior.evaluation.result import Result, table_row
from flowprior.extensions.hub.card import CARD, add_evaluation
from flowprior.extensions.hub.contents import head_of
from flowprior.flow import Flow
from flowprior.flow.description import digest_of
from flowprior.training import train
from tests.cli.conftest import SHORT, Call, call_app
from tests.flow.test_flow_files import build
from tests.flow_folder import description_of, weights_of

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the test extra is not installed")
TRAINING = {"steps": 2, "batch_size": 16, "warmup": 1, "device": "cpu", "sample_every": 0}


@pytest.fixture(scope="module")
def emoji_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on the captions of emoji, asked of the command line."""
    run = tmp_path_factory.mktemp("runs") / "emoji"
    parts = ["--data", "emoji", "--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=8"]
    more = ["--set", "training.sample_every=0", "--set", "training.beta2=0.95"]
    answer = call_app("train", *parts, "--steps", "2", "--seed", "3", *SHORT, *more, "--out", run)
    assert answer.code == 0, answer.err
    return run


def head(folder: Path) -> dict[str, Any]:
    """The head as Hugging Face's own reader gives it."""
    return huggingface_hub.ModelCard.load(folder / CARD).data.to_dict()


def rows(folder: Path) -> dict[str, str]:
    """First column -> second one, of the tables of the card."""
    lines = (folder / CARD).read_text(encoding="utf-8").splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return {cell[0]: cell[1].strip("`") for cell in cells if len(cell) == 2}


PICTURE, CAPTION = Condition.of_shape((3, 8, 8)), Condition("embeddings", 4)
STYLED = Condition("parts", parts=(("style", Condition("labels", 2)), ("words", CAPTION)))
MASKED = Condition("parts", parts=(("given", PICTURE), ("words", CAPTION)))


@pytest.mark.parametrize(
    ("condition", "tag"),
    [
        (PICTURE, "image-to-image"),
        (MASKED, "image-to-image"),
        (CAPTION, "text-to-image"),
        (STYLED, "text-to-image"),
        (Condition("labels", 2), "unconditional-image-generation"),
        (Condition(), "unconditional-image-generation"),
    ],
)
def test_the_task_follows_from_what_a_picture_is_made_of(condition: Condition, tag: str) -> None:
    metadata = {"data": {"is_image": True, "captions": {"count": 2}}}
    assert head_of({"condition": condition.as_dict(), "metadata": metadata})["pipeline_tag"] == tag
    metadata["data"]["is_image"] = False
    assert "pipeline_tag" not in head_of({"condition": condition.as_dict(), "metadata": metadata})


def test_the_card_tells_what_training_was_asked(emoji_run: Path) -> None:
    """Checked against the run's configuration, its description and the data set itself."""
    folder, data = emoji_run / "flow", load_data("emoji")
    found, config = head(folder), tomllib.loads((emoji_run / "config.toml").read_text())
    expected = {"library_name": "flowprior", "pipeline_tag": "text-to-image", "datasets": ["emoji"]}
    assert expected.items() <= found.items()
    assert "license" not in found, "nobody said under which license these weights are"
    asked = {name: config[name] for name in ("data", "prior", "coupling", "path", "model")}
    expected = asked | {
        "steps": "2",
        "batch size": str(config["training"]["batch_size"]),
        "seed": "3",
        "condition dropout": "0.1",
        "prediction": description_of(folder)["prediction"],
        "weights, sha256": hashlib.sha256(weights_of(folder).read_bytes()).hexdigest(),
        "split": "train",
        "examples": "4514",
        "text encoder": data.text_encoder_identity,
        "licences of the data": "Apache-2.0, CC-BY-4.0, MIT",
        "different captions": str(len(set(data.captions))),
    }
    assert {name: rows(folder)[name] for name in expected} == expected


def test_the_command_of_the_card_trains_the_same_again(emoji_run: Path, tmp_path: Path) -> None:
    card = (emoji_run / "flow" / CARD).read_text(encoding="utf-8")
    (line,) = re.findall(r"^\$ (flowprior train .*)$", card, re.MULTILINE)
    words = shlex.split(line)[1:]
    words[words.index("RUN")] = str(tmp_path / "again")
    answer = call_app(*words)
    assert answer.code == 0, answer.err
    assert (tmp_path / "again" / "config.toml").read_text() == (emoji_run / "config.toml").read_text()
    assert weights_of(tmp_path / "again" / "flow").name == weights_of(emoji_run / "flow").name


def test_data_without_a_name_are_said_to_have_no_command(tmp_path: Path) -> None:
    data = TensorData(torch.rand(32, 3, 4, 4), torch.arange(32) % 2, name="mine | `x` <!--", is_image=True)
    flow = train(data, prior="gaussian", coupling="condot", model="mlp:width=8", **TRAINING)
    flow.metadata["license"] = "mit"
    flow.save(tmp_path)
    card, found = (tmp_path / CARD).read_text(encoding="utf-8"), head(tmp_path)
    assert "trained from Python" in card
    assert "flowprior train" not in card
    assert found["pipeline_tag"] == "unconditional-image-generation"
    assert ("datasets" in found, found["license"]) == (False, "mit")


def test_a_flow_put_together_by_hand_has_a_card_of_what_is_known(tmp_path: Path) -> None:
    build().save(tmp_path)
    told, known = rows(tmp_path), description_of(tmp_path)
    assert (told["prior"], told["weights, sha256"]) == (known["prior"], known["files"]["weights"]["sha256"])
    assert not {"data", "pipeline_tag"} & {*told, *head(tmp_path)}


@pytest.mark.parametrize("error", ["ModuleNotFoundError", "AttributeError"])
def test_a_card_that_is_broken_is_skipped_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    broken = None if error == "ModuleNotFoundError" else ModuleType("card without its functions")
    monkeypatch.setitem(sys.modules, "flowprior.extensions.hub.card", broken)
    with pytest.warns(RuntimeWarning, match=rf"card 'model-card' .* is skipped: {error}"):
        build().save(tmp_path)
    assert Flow.load(tmp_path)
    assert not (tmp_path / CARD).exists()


DISTANCE = Result([table_row("fid", 3.0, flow="gmm + ot", sampler="euler", nfe=4)])


@pytest.mark.parametrize("own", ["# My thesis\n", "ours, and three years of work"])
def test_a_readme_that_somebody_wrote_or_edited_is_kept_with_one_warning(tmp_path: Path, own: str) -> None:
    build().save(tmp_path)
    kept = own.replace("ours", (tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(kept)
    with pytest.warns(RuntimeWarning, match=r"README.md is your own or was edited, and is kept") as caught:
        build("gaussian").save(tmp_path)
    assert len(caught) == 1
    assert (tmp_path / CARD).read_text() == kept
    assert Flow.load(tmp_path).specs["prior"] == "gaussian:moments=diagonal"


def test_an_evaluation_stays_until_the_next_save(tmp_path: Path) -> None:
    """Of a card that nobody has edited, whatever its line endings."""
    path = tmp_path / CARD
    build().save(tmp_path)
    digest = digest_of(tmp_path)
    add_evaluation(tmp_path, DISTANCE, digest)
    assert "| `fid` | 3 |" in path.read_text()
    assert head(tmp_path)["metrics"] == ["fid"]
    path.write_text(path.read_text(), newline="\r\n")
    build("gaussian").save(tmp_path)
    with pytest.warns(RuntimeWarning, match="replaced meanwhile"):  # between reading and evaluating it
        add_evaluation(tmp_path, DISTANCE, digest)
    assert rows(tmp_path)["prior"] == "gaussian:moments=diagonal"
    assert "| `fid` | 3 |" not in path.read_text()
    assert "metrics" not in head(tmp_path)


# -- an evaluation in the card --------------------------------------------------------------------


OPTIONS = ["--samples", "40", "--metrics", "w2", "--json"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    parts = ["--data", "digits", "--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=8"]
    answer = call_app("train", *parts, "--steps", "4", *SHORT, "--out", out)
    assert answer.code == 0, answer.err
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def card_of(run: Path) -> str:
    return (run / "flow" / CARD).read_text(encoding="utf-8")


def lines_of(card: str) -> list[list[str]]:
    """The cells of the table of values."""
    section = card.partition("## Evaluation")[2]
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in section.splitlines()]
    return [line for line in cells if len(line) == 8][2:]


def evaluated(call: Call, run: Path, *options: str) -> dict[str, Any]:
    answer = call("evaluate", run, *OPTIONS, *options)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_every_value_is_in_the_card_with_the_digest_of_the_reference(call: Call, run: Path) -> None:
    found = evaluated(call, run, "--nfe", "0,2")
    told = {(line[1], line[2], line[4]): line for line in lines_of(card_of(run))}
    rows = [row for row in found["rows"] if row["metric"] == "w2_squared"]
    assert {row["nfe"] for row in rows} == {0, 2, None}, "the prior alone, the flow, and real data"
    for row in rows:
        real = row["flow"] == "real data"
        key = ("real data", "", "w2_squared") if real else (row["sampler"], str(row["nfe"]), "w2_squared")
        assert float(told[key][5]) == pytest.approx(row["value"], rel=1e-3)
        assert told[key][6] == str(row["samples"])
    assert "seconds" not in {key[2] for key in told}, "a machine's seconds are no quality"
    test = load_data("digits", "test")
    assert f"{len(test)} test examples of digits, sha256 {data_digest(test)}" in card_of(run)


def test_another_evaluation_takes_the_place_of_the_first(call: Call, run: Path) -> None:
    before = card_of(run)
    evaluated(call, run, "--nfe", "1")
    first = card_of(run)
    evaluated(call, run, "--nfe", "1")
    assert card_of(run) == first, "the same evaluation gives the same card"
    evaluated(call, run, "--nfe", "2", "--seeds", "0,1")
    training, _ = card_of(run).partition("## Training")[2].split("## Evaluation")
    assert training in before
    assert {line[2] for line in lines_of(card_of(run)) if line[1] == "euler"} == {"2"}
    assert all("±" in line[5] for line in lines_of(card_of(run)) if line[4] == "w2_squared")


def test_an_unfinished_run_is_evaluated_without_a_card(call: Call, run: Path) -> None:
    shutil.rmtree(run / "flow")
    answer = call("evaluate", run, *OPTIONS, "--nfe", "1")
    assert answer.code == 0, answer.err
    assert "newest checkpoint is used" in answer.err
    assert not list(run.rglob(CARD))


def test_a_card_that_cannot_be_written_gives_values_and_one_warning(call: Call, run: Path) -> None:
    (run / "flow" / CARD).unlink()
    (run / "flow" / CARD).mkdir()
    answer = call("evaluate", run, *OPTIONS, "--nfe", "1")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["rows"]
    (line,) = [line for line in answer.err.splitlines() if "warning" in line]
    assert "the model card of" in line
