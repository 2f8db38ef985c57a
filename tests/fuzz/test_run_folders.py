"""A damaged file in a run folder: the whole run's result, or one line; no trace, no hang, no code is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import tomllib
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from flowprior import Flow, train
from flowprior.errors import FlowpriorError
from flowprior.storage.digests import bind, signed, tensors_digest
from flowprior.storage.tensor_files import load_tensors, save_tensors
from tests.cli.conftest import call_app
from tests.flow_folder import description_of
from tests.fuzz.test_hostile_inputs import bounded

CASES, QUICK = 120, 12
SETTINGS: dict[str, Any] = {
    "data": "digits",
    "prior": "latent-gmm:rank=4,components=2",
    "model": "mlp:width=16,depth=1",
    "steps": 12,
    "batch_size": 32,
    "warmup": 2,
    "log_every": 2,
    "sample_every": 4,
    "sample_nfe": 1,
    "checkpoint_every": 3,
    "keep_checkpoints": 3,
    "device": "cpu",
}
EVALUATE = ["--nfe", "1,2", "--samples", "40", "--metrics", "w2", "--device", "cpu", "--json"]
DEEP = "[" * 100_000 + "]" * 100_000
OTHERS: tuple[Any, ...] = (
    *(None, True, 7, -1.5, [], [1, [2]], {}, {"a": {"b": 1}}),
    *(float("nan"), float("inf"), 1e308, 10**8, 2**63, 10**30),
    *("words", "x" * 2**20, "../../etc/passwd", "a\nb\x1b[31m", "[/b]"),
)
"""Values that take the place of one in a text."""


# -- runs, and what they give -------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected() -> dict[tuple[Any, ...], str]:
    """What the roads lead to in a whole run, once it was asked for."""
    return {}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was evaluated, and one that was killed before its last checkpoint."""
    folder = tmp_path_factory.mktemp("runs")
    train(out=folder / "finished", **SETTINGS)
    evaluated(folder / "finished")
    killed = shutil.copytree(folder / "finished", folder / "killed")
    for last in ("flow", "checkpoints/step-000012"):
        shutil.rmtree(killed / last)
    return folder


def files_of(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*") if path.is_file())


def sampled(run: Path) -> str:
    flow = Flow.load(run)
    samples = flow.sample(torch.arange(10), nfe=2, generator=torch.Generator().manual_seed(0))
    return tensors_digest({"samples": samples, **flow.state_dict()})


def evaluated(run: Path) -> str:
    """The rows of an evaluation but for its seconds."""
    answer = call_app("evaluate", run, *EVALUATE)
    if answer.code:
        lines = [line for line in answer.err.splitlines() if not line.startswith("flowprior: warning:")]
        assert answer.code == 2, answer.err
        assert len(lines) == 1, answer.err
        raise FlowpriorError(lines[0])
    return json.dumps([row for row in json.loads(answer.out)["rows"] if row["metric"] != "seconds"])


def resumed(run: Path) -> str:
    return tensors_digest(train(out=run, resume=True, **SETTINGS).state_dict())


def taken(road: Callable[[Path], str], folder: Path) -> tuple[bool, str]:
    """Whether a road leads to a result, and the result, or why it is refused."""
    with warnings.catch_warnings(), bounded():
        warnings.simplefilter("ignore")
        try:
            return True, road(folder)
        except FlowpriorError as error:
            return False, str(error)


# -- ways to damage a file of any kind --------------------------------------------------------------


def flip_bits(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 1, 64])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def change_length(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(chance.choice([b"", data[: len(data) // 2], data[:-1], data + chance.randbytes(1000)]))


def change_blocks(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    start = chance.randrange(len(data))
    head, block, tail = data[:start], data[start : start + 64], data[start + 64 :]
    path.write_bytes(head + chance.choice([bytes(len(block)), block + block, b""]) + tail)


def take_another(path: Path, chance: random.Random) -> None:
    others = [other for other in files_of(run_of(path)) if other != path]
    shutil.copyfile(chance.choice(others), path)


def take_a_pickle(path: Path, chance: random.Random) -> None:
    path.write_bytes(pickle.dumps(Canary(run_of(path).with_name("canary"))))


def take_no_file(path: Path, chance: random.Random) -> None:
    path.unlink()
    others: list[Callable[[], object]] = [
        path.mkdir,
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to(path.name),
        lambda: os.mkfifo(path),
        lambda: None,
    ]
    chance.choice(others)()


def take_holes(path: Path, chance: random.Random) -> None:
    """Three GiB that take memory only where they are read."""
    os.truncate(path, 3 << 30)


def run_of(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.name == "run")


class Canary:
    """An object whose pickle makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


# -- ways to damage texts, tensors and training states ------------------------------------------------


def change_value(path: Path, chance: random.Random) -> None:
    """Remove a value of a JSON or TOML file, or put another one in its place."""
    is_toml, text = path.suffix == ".toml", path.read_text()
    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    documents = [tomllib.loads(text)] if is_toml else [json.loads(line) for line in lines]
    holder, key = chance.choice([place for document in documents for place in places(document)])
    if chance.random() < 0.3:
        del holder[key]
    else:
        holder[key] = chance.choice(OTHERS[1:] if is_toml else OTHERS)
    try:
        written = tomli_w.dumps(documents[0]) if is_toml else "\n".join(map(json.dumps, documents))
    except TypeError:  # a null inside of what TOML is to hold
        written = ""
    path.write_text(written + "\n")


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Holder and key of every value below the top."""
    keys = document if isinstance(document, dict) else range(len(document))
    for key in list(keys):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])


def change_text(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    place = chance.randrange(len(data))
    odd = chance.choice([b"\xff", b"\0", b"\xed\xa0\x80", b"1" * 5000, DEEP.encode()])
    whole = [b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), DEEP.encode(), b"7", b"null"]
    path.write_bytes(chance.choice([data[:place] + odd + data[place:], *whole]))


def change_header(path: Path, chance: random.Random) -> None:
    """Change what a safetensors file says of its tensors."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = chance.choice(sorted(header))
    entry = header.pop(name)
    changes: list[dict[str, Any]] = [
        {},
        {f"{name}.more": entry},
        {name: {**entry, "dtype": "I32"}},
        {name: {**entry, "shape": [2**40]}},
        {name: {**entry, "data_offsets": [0, 4]}},
        {name: entry, "__metadata__": {"flowprior": "[" * 100_000}},
    ]
    text = json.dumps(header | chance.choice(changes)).encode()
    claimed = chance.choice([len(text)] * 6 + [2**63, 2**40, 0, len(text) - 1])
    path.write_bytes(claimed.to_bytes(8, "little") + text + data[8 + length :])


def change_tensor(path: Path, chance: random.Random) -> None:
    """Change one tensor under a right checksum."""
    tensors, metadata = load_tensors(path)
    name = chance.choice(sorted(name for name in tensors if tensors[name].dim()))
    old = tensors[name]
    others = [old[None], old[:0], old.flip(0) + 1, old.double() * float("nan"), old.long(), old.half()]
    save_tensors(path, {**tensors, name: chance.choice(others)}, metadata)


def change_state(path: Path, chance: random.Random) -> None:
    """Change a value of a training state, or the pickle that holds it."""
    state = torch.load(path, weights_only=True)
    holder, key = chance.choice([place for place in places(state) if not isinstance(place[0], torch.Tensor)])
    if chance.random() < 0.5:
        others = [
            *OTHERS,
            torch.zeros(3),
            torch.zeros(3, device="meta"),
            Canary(run_of(path).with_name("canary")),
        ]
        holder[key] = chance.choice(others)
        return torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, data in members:
            cut = chance.randrange(len(data)) if name.endswith("data.pkl") else len(data)
            archive.writestr(name, data[:cut])
    path.write_bytes(buffer.getvalue())
    return None


ANY = [flip_bits, change_length, change_blocks, take_another, take_a_pickle, take_no_file, take_holes]
TEXT = [change_value, change_value, change_text]
DAMAGES: dict[str, list[Callable[[Path, random.Random], None]]] = {
    ".json": TEXT,
    ".jsonl": TEXT,
    ".toml": TEXT,
    ".safetensors": [change_header, change_tensor],
    ".pt": [change_state, change_state],
}
"""What is done to files of a kind beside what is done to any."""


def bind_anew(path: Path) -> bool:
    """Have the flow.json beside a file say that it belongs there; False where it says nothing of it."""
    folder = path.parent
    if not path.is_file() or not (folder / "flow.json").is_file():
        return False
    values = description_of(folder)
    role = next((role for role, bound in values["files"].items() if bound["name"] == path.name), None)
    if role is None:
        return False
    values["files"][role] = bind(path).as_dict()
    del values["digest"]
    (folder / "flow.json").write_text(json.dumps(signed(values)))
    return True


@pytest.mark.parametrize(
    "number", [*range(QUICK), *(pytest.param(n, marks=pytest.mark.slow) for n in range(QUICK, CASES))]
)
def test_a_damaged_file_gives_the_right_result_or_one_line(
    number: int, runs: Path, expected: dict[tuple[Any, ...], str], tmp_path: Path
) -> None:
    chance = random.Random(number)
    whole = runs / chance.choice(["finished", "killed"])
    files = files_of(whole)
    name = files[(7 * number) % len(files)].relative_to(whole)
    path = shutil.copytree(whole, tmp_path / "run") / name
    damage = chance.choice([*ANY, *3 * DAMAGES.get(path.suffix, [])])
    damage(path, chance)
    is_other = damage in (change_header, change_tensor, change_state) and number % 2 and bind_anew(path)
    flows = [
        folder.relative_to(tmp_path / "run") for folder in path.parents if (folder / "flow.json").is_file()
    ]
    roads = [
        *((sampled, below) for below in flows),
        (sampled, Path()),
        (evaluated, Path()),
        (resumed, Path()),
    ]
    for road, below in roads:
        told = f"{road.__name__} of {below} after {damage.__name__} of {name}"
        is_result, found = taken(road, tmp_path / "run" / below)
        if not is_result:
            assert len(found.splitlines()) == 1, told
            assert len(found) < 2000, told
        elif not is_other:
            key = whole, road, below
            if key not in expected:
                copy = shutil.copytree(whole, tmp_path / f"whole {len(expected)}")
                expected[key] = taken(road, copy / below)[1]
            assert found == expected[key], told
    assert not (tmp_path / "canary").exists()


def test_the_pickles_do_run_code_where_they_are_trusted(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    take_a_pickle(tmp_path / "run" / "training.pt", random.Random(0))
    pickle.loads((tmp_path / "run" / "training.pt").read_bytes())
    assert (tmp_path / "canary").exists()
