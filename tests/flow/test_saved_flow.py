"""The folder of a saved flow: what is replaced and what never is, kills, readers, what does not belong."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.flow.description import describe, tensors_of
from flowprior.flow.files import write_flow
from flowprior.models import build_model
from flowprior.storage import writing
from flowprior.storage.digests import Binding
from flowprior.storage.writing import is_leftover
from tests.flow.test_flow_files import LABELS, assert_same, build
from tests.flow_folder import description_of, redescribe, weights_of


def other(seed: int = 1) -> Flow:
    """A flow of the same architecture with other weights."""
    flow = build()
    with torch.no_grad():
        for parameter in flow.model.parameters():  # type: ignore[union-attr]
            parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(seed))
    return flow


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- what a save may touch --------------------------------------------------------------------


@pytest.mark.parametrize(
    "inside", ["thesis.tex", "checkpoints/step-000005/training.pt", "weights.safetensors"]
)
def test_a_folder_of_something_else_is_refused_and_untouched(inside: str, tmp_path: Path) -> None:
    (tmp_path / inside).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / inside).write_text("three years of work")
    before = content(tmp_path)
    with pytest.raises(CheckpointError, match="is no saved flow; choose a new or empty directory") as caught:
        build().save(tmp_path)
    assert "\n" not in str(caught.value)
    assert content(tmp_path) == before


def test_an_empty_folder_will_do_and_a_file_will_not(tmp_path: Path) -> None:
    build().save(tmp_path)
    assert_same(build(), Flow.load(tmp_path))
    with pytest.raises(CheckpointError, match="which is a file; choose a directory"):
        build().save(tmp_path / "flow.json")


def test_files_of_others_in_a_saved_flow_stay(tmp_path: Path) -> None:
    build().save(tmp_path)
    (tmp_path / "notes.txt").write_text("good one")
    (tmp_path / "figures").mkdir()
    other().save(tmp_path)
    assert_same(other(), Flow.load(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "good one"
    found = ["README.md", "figures", "flow.json", "notes.txt", weights_of(tmp_path).name]
    assert names(tmp_path) == sorted(found)


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build().save(tmp_path / "flow")
    before = content(tmp_path)
    monkeypatch.setattr("flowprior.storage.digests.write_json", _no_space)
    for folder in (tmp_path / "flow", tmp_path / "new"):
        with pytest.raises(CheckpointError, match="No space"):
            other().save(folder)
    assert content(tmp_path) == before
    assert names(tmp_path) == ["flow"]


def _no_space(*_: object) -> None:
    raise CheckpointError("No space left on device")


def test_two_that_save_at_once_leave_one_of_both(tmp_path: Path) -> None:
    flows = [other(seed) for seed in range(4)]
    threads = [threading.Thread(target=flow.save, args=(tmp_path / "flow",)) for flow in flows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path / "flow") == ["README.md", "flow.json", weights_of(tmp_path / "flow").name]
    assert Flow.load(tmp_path / "flow")


# -- kills ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_a_kill_at_any_moment_leaves_the_old_flow_or_the_new_one(first: bool, tmp_path: Path) -> None:
    old, new = build(), other()
    reference = tmp_path / "reference"
    new.save(reference)
    outcomes = set()
    for moment in range(1, 40):
        folder = tmp_path / f"flow-{moment}"
        if not first:
            old.save(folder)
        if _killed_at(moment, lambda folder=folder: new.save(folder)):
            outcomes.add(_flow_in(folder, first, old, new))
            old.save(folder)
            assert names(folder) == ["README.md", "flow.json", weights_of(folder).name]
        else:
            assert content(folder) == content(reference)
            break
    else:
        raise AssertionError("it never came to its end")
    assert moment > 5
    assert outcomes == ({"none", "new"} if first else {"old", "new"})


def _flow_in(folder: Path, first: bool, old: Flow, new: Flow) -> str:
    try:
        found = Flow.load(folder)
    except CheckpointError:
        assert first
        return "none"
    weights = {name: tensor for name, tensor in found.state_dict().items() if name.startswith("model.")}
    for name, flow in (("old", old), ("new", new)):
        state = flow.state_dict()
        if all(torch.equal(state[key], tensor) for key, tensor in weights.items()):
            return name
    raise AssertionError("neither the old flow nor the new one")


def _killed_at(moment: int, action: Callable[[], None]) -> bool:
    """Whether a process was ended, without any cleaning up, before its ``moment``-th change of the disk."""
    child = os.fork()
    if child == 0:
        try:
            _end_before(moment)
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def _end_before(moment: int) -> None:
    count = 0

    def counted(original: Callable[..., object]) -> Callable[..., object]:
        def call(*values: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == moment:
                os._exit(9)
            return original(*values, **options)

        return call

    for place, name in ((Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (Path, "rmdir"), (os, "fsync")):
        setattr(place, name, counted(getattr(place, name)))


# -- readers ----------------------------------------------------------------------------------


def test_a_reader_that_a_save_overtakes_reads_the_new_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build().save(tmp_path / "flow")
    read, calls = Binding.read, []

    def overtaken(binding: Binding, manifest: Path) -> bytes:
        calls.append(binding)
        if len(calls) == 1:
            other().save(tmp_path / "flow")
        return read(binding, manifest)

    monkeypatch.setattr(Binding, "read", overtaken)
    assert_same(other(), Flow.load(tmp_path / "flow"))
    assert len(calls) == 2


# -- what does not belong together ------------------------------------------------------------


def two_flows(tmp_path: Path) -> tuple[Path, Path]:
    build().save(tmp_path / "a")
    other().save(tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def test_weights_of_another_flow_are_named(tmp_path: Path) -> None:
    a, b = two_flows(tmp_path)
    shutil.copyfile(weights_of(b), weights_of(a))
    with pytest.raises(
        CheckpointError, match=f"{weights_of(a).name} does not belong to .*flow.json"
    ) as caught:
        Flow.load(a)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"prior": "gmm:components=3"},
        {"path": "condot"},
        {"metadata": {"step": 4}},
        {"digest": "0"},
    ],
)
def test_a_description_that_somebody_changed_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    build().save(tmp_path / "flow")
    path = tmp_path / "flow" / "flow.json"
    path.write_text(json.dumps({**description_of(tmp_path / "flow"), **changes}))
    with pytest.raises(CheckpointError, match=r"flow\.json is corrupted"):
        Flow.load(tmp_path / "flow")


def test_a_description_may_not_point_outside_its_folder(tmp_path: Path) -> None:
    a, b = two_flows(tmp_path)
    files = description_of(b)["files"]
    files["weights"]["name"] = f"../b/{files['weights']['name']}"
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        Flow.load(redescribe(a, files=files))


@pytest.mark.parametrize("value", [[1], "text", None, {"kind": []}, {"kind": "labels", "size": -1}, 10**30])
@pytest.mark.parametrize("key", ["prior", "model", "condition", "event_shape", "metadata", "dtype", "files"])
def test_values_of_another_kind(key: str, value: object, tmp_path: Path) -> None:
    if (key, value) in (("dtype", None), ("event_shape", [1])) or (
        key == "metadata" and isinstance(value, dict)
    ):
        pytest.skip("possible")
    build().save(tmp_path / "flow")
    path = tmp_path / "flow" / "flow.json"
    folder = redescribe(tmp_path / "flow", **{key: value})
    assert path.is_file()
    with pytest.raises(CheckpointError) as caught:
        Flow.load(folder)
    assert "\n" not in str(caught.value)


# -- tensors that are none of the flow's --------------------------------------------------------


def saved_with(tmp_path: Path, name: str, value: torch.Tensor) -> Path:
    """A saved flow with another tensor in it, which its description binds."""
    flow, folder = build(), tmp_path / "flow"
    tensors = tensors_of(flow)
    assert name in tensors
    folder.mkdir()
    write_flow(folder, describe(flow), {**tensors, name: value})
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prior.loc", torch.zeros(2, 2, 4)),  # a label is missing
        ("prior.loc", torch.zeros(3, 2, 5)),
        ("prior.loc", torch.zeros(3, 2, 4, dtype=torch.long)),
        ("prior.loc", torch.zeros(3, 2, 4, dtype=torch.complex64)),
        ("prior.factor", torch.zeros(3, 2, 9, 1)),
        ("prior.event_dims", torch.tensor([5])),
        ("prior.event_dims", torch.tensor([10**12])),
        ("prior.event_dims", torch.tensor([4.0])),
        ("prior.seen.weight", torch.zeros(2, 2)),
    ],
)
def test_a_prior_of_other_tensors_is_refused_at_loading(
    name: str, value: torch.Tensor, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="do not fit the prior") as caught:
        Flow.load(saved_with(tmp_path, name, value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["prior.loc", "model.output.bias"])
def test_tensors_that_are_not_finite(name: str, value: float, tmp_path: Path) -> None:
    flow = build()
    dict(flow.state_dict())[name].view(-1)[1] = value
    with pytest.raises(CheckpointError, match=f"flow.save: tensor '{name}' holds 1 value.* NaN or infinite"):
        flow.save(tmp_path / "flow")
    good = build()
    good.save(tmp_path / "good")
    description = {k: v for k, v in description_of(tmp_path / "good").items() if k not in ("files", "digest")}
    (tmp_path / "flow").mkdir()
    write_flow(tmp_path / "flow", description, tensors_of(flow))
    with pytest.raises(CheckpointError, match=f"tensor '{name}' holds 1 value"):
        Flow.load(tmp_path / "flow")


# -- torch.compile, copies, runs ----------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_a_compiled_model_is_saved_under_its_own_names(whole: bool, tmp_path: Path) -> None:
    flow = build()
    if whole:
        flow.model = torch.compile(flow.model)
    else:
        flow.model.compile()  # type: ignore[union-attr]
    flow.save(tmp_path / "flow")
    assert_same(build(), Flow.load(tmp_path / "flow"))
    compiled = torch.compile(build_model("mlp", torch.Size([4]), LABELS))
    loaded = Flow.load(tmp_path / "flow", model=compiled)  # type: ignore[arg-type]
    expected = build().model.state_dict()  # type: ignore[union-attr]
    for name, tensor in loaded.model.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(tensor, expected[name.removeprefix("_orig_mod.")])


def test_nothing_temporary_bears_a_name_that_somebody_gives(tmp_path: Path) -> None:
    for name in ("flow.json", "weights-0123456789abcdef.safetensors", ".hidden", ".a.tmp", ".a.1234567.tmp"):
        assert not is_leftover(tmp_path / name)
    assert is_leftover(writing.beside(tmp_path / "a.png", ".png"))
