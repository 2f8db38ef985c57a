"""TensorBoard and Weights & Biases, by what their own readers find in what was written."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowprior.data import TensorData
from flowprior.errors import CheckpointError, OptionError, TrainingInterrupted
from flowprior.extensions.trackers import TensorBoard, WeightsAndBiases, imported, kept_id
from flowprior.training import read_metrics, train
from tests.training import conftest

points = conftest.points
OPTIONS: dict[str, Any] = {**conftest.SAVED, "log_every": 1, "sample_every": 2}


def losses(run: Path) -> dict[int, float]:
    lines = read_metrics(run / "metrics.jsonl")
    return {line["step"]: line["loss"] for line in lines if line["kind"] == "train"}


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_has_curves_pictures_and_the_end(points: TensorData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(points, out=run, callbacks=["tensorboard"], **OPTIONS)
    found = events(run / "tensorboard")
    curve = {event.step: event.value for event in found.Scalars("train/loss")}
    assert curve == pytest.approx(losses(run), rel=1e-6)
    assert {"train/lr", "train/steps_per_second", "train/peak_memory"} <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Images("samples")] == [2, 4]
    assert found.Tensors("status/text_summary")[-1].tensor_proto.string_val == [b"finished"]


def test_tensorboard_shows_each_step_once_after_a_stop(points: TensorData, tmp_path: Path) -> None:
    """The last step before the stop has no checkpoint of its own to go on from but the one of the stop."""
    run = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(points, out=run, callbacks=[TensorBoard()], max_minutes=1e-9, **OPTIONS)
    train(points, out=run, callbacks=[TensorBoard()], resume=True, **OPTIONS)
    curve = [(event.step, event.value) for event in events(run / "tensorboard").Scalars("train/loss")]
    assert [step for step, _ in curve] == [1, 2, 3, 4]
    assert dict(curve) == pytest.approx(losses(run), rel=1e-6)


@pytest.mark.slow  # wandb writes from a process of its own, which a busy machine leaves behind
def test_wandb_offline_has_curves_configuration_and_the_end(points: TensorData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(points, out=run, callbacks=["wandb:mode=offline,project=tests"], **OPTIONS)
    found = records(run / "wandb")
    curve = {int(row["_step"]): row["train/loss"] for row in found["history"] if "train/loss" in row}
    assert curve == pytest.approx(losses(run), rel=1e-6)
    assert [int(row["_step"]) for row in found["history"] if "samples/path" in row] == [2, 4]
    assert found["run"] == {(kept_id(run / "wandb-id"), "tests")}
    assert found["summary"]["status"] == "finished"


def records(folder: Path) -> dict[str, Any]:
    """What is in the file of an offline run, by wandb's own messages."""
    import json

    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("offline-run-*/run-*.wandb")
    found: dict[str, Any] = {"history": [], "run": set(), "summary": {}}
    for data in logged(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            found["history"].append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
            )
        if record.HasField("run"):
            found["run"].add((record.run.run_id, record.run.project))
        for item in record.summary.update:
            found["summary"][item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


def logged(content: bytes) -> Iterator[bytes]:
    """The messages of a wandb file: after seven bytes a log of LevelDB, in blocks of 32 KiB.

    Each piece has a checksum, a length and a kind: 1 whole, 2 first, 3 middle, 4 last.
    """
    block, place, message = 32768, 7, b""
    while place + 7 <= len(content):
        left = block - place % block
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield message
            message = b""


@pytest.mark.parametrize("name", ["tensorboard", "wandb:mode=disabled"])
def test_they_need_the_folder_of_a_run(points: TensorData, name: str) -> None:
    with pytest.raises(OptionError, match=r"writes into the run's folder; give train one with out \(--out\)"):
        train(points, callbacks=[name], **OPTIONS)


def test_another_mode_is_refused() -> None:
    with pytest.raises(OptionError, match="mode"):
        WeightsAndBiases(mode="onlin")


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(OptionError, match=r"pip install wandb$"):
        imported("no_such_module_here", "wandb")


def test_an_id_is_made_once_and_kept(tmp_path: Path) -> None:
    note = tmp_path / "wandb-id"
    made = kept_id(note)
    assert kept_id(note) == made
    note.write_text("../../etc", encoding="utf-8")
    assert kept_id(note) not in (made, "../../etc")
    note.write_text("x" * 1000, encoding="utf-8")
    with pytest.raises(CheckpointError, match="wandb-id"):
        kept_id(note)
