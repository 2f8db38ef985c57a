"""The three roads a mutated run folder is taken along, and what came of each.

``sample`` is ``Flow.load`` and samples, ``evaluate`` the command line's command called in this process,
``resume`` is ``train(..., resume=True)``. What is compared is digested: the flow's tensors and samples, the
evaluation without its timings, the weights that the resumed run returns and leaves on the disk.
"""

from __future__ import annotations

import hashlib
import io
import json
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.fuzz.run_folders_memory import Growth

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
SECONDS = 30.0
"""Longer than this is a hang; unmutated, each road takes about one."""
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Outcome:
    """What came of one road.

    Attributes:
        road: its name.
        state: result, refused, traceback, exit, hang, killed or canary.
        value: digest of the result, or the message.
        where: last frame inside the package, of a traceback.
        grown: MiB that the process grew at most.
    """

    road: str
    state: str
    value: str
    where: str = ""
    grown: float = 0.0


class Hang(BaseException):
    """Raised by the alarm; no ``except Exception`` on the way may swallow it."""


class Exit(Exception):
    """A command ended with another code than 0 or 2, or said more or less than one line."""


class Refused(Exception):
    """A command ended with code 2 and one line."""


def take_road(road: str, folder: Path, seconds: float = SECONDS) -> Outcome:
    """Take ``folder`` along ``road`` and say what came of it; nothing that the road raises gets out."""
    from flowprior.errors import FlowpriorError

    growth = Growth()
    state, where = "result", ""
    try:
        with _alarm(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ROADS[road](folder)
    except (FlowpriorError, Refused) as error:
        state, value = "refused", str(error)
    except Exit as error:
        state, value = "exit", str(error)
    except Hang:
        state, value = "hang", f"not done after {seconds:g} s"
    except BaseException as error:
        state, value = "traceback", f"{type(error).__name__}: {_first_line(error)}"
        where = last_frame(error)
    return Outcome(road, state, value, where, growth.mebibytes())


def load_and_sample(folder: Path) -> str:
    """Digest of the tensors of the flow in ``folder`` and of samples of every label."""
    from flowprior.flow import Flow

    flow = Flow.load(folder)
    cond = torch.arange(flow.condition.size or 0).repeat(2)
    samples = flow.sample(cond, nfe=2, generator=torch.Generator().manual_seed(0))
    return digest({"samples": samples, **flow.state_dict()})


def evaluate(folder: Path) -> str:
    """The evaluation that the command line prints for the run, without timings."""
    return without_timings(run_command(["evaluate", str(folder), *EVALUATE]))


def resume(folder: Path) -> str:
    """Digest of the flow that the resumed run returns, and of the one that it leaves in ``folder``."""
    from flowprior.training import train

    flow = train(out=folder, resume=True, **SETTINGS)
    return digest(flow.state_dict()) + saved_weights(folder)


def saved_weights(folder: Path) -> str:
    """Digest of the tensors of the flow that a finished run holds."""
    from flowprior.flow import Flow

    inner = folder / "flow"
    return digest(Flow.load(inner if inner.is_dir() else folder).state_dict())


ROADS: dict[str, Callable[[Path], str]] = {
    "sample": load_and_sample,
    "evaluate": evaluate,
    "resume": resume,
}


def run_command(arguments: list[str]) -> str:
    """What the command line prints on stdout for ``arguments``, called in this process.

    Raises:
        Refused: code 2 and one line on stderr.
        Exit: another code than 0 or 2, or code 2 and not one line.
    """
    from flowprior.cli import main

    printed, said = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(said):
        try:
            main(arguments)
        except SystemExit as stop:
            check_exit(stop.code, said.getvalue())
    return printed.getvalue()


def check_exit(code: Any, said: str) -> None:
    """Raise what an exit code and the text on stderr amount to; return where the command succeeded."""
    lines = [line for line in said.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("flowprior: warning:")]
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        raise Exit(f"code {code}, a traceback on stderr: {lines[-1]}")
    if code in (0, None):
        return
    if code == 2 and len(lines) == 1 and lines[0].startswith("flowprior: error:"):
        raise Refused(lines[0])
    raise Exit(f"code {code}, {len(lines)} lines on stderr: {' | '.join(lines)[:300]}")


def without_timings(text: str) -> str:
    """JSON of an evaluation, without the rows and the values that are seconds."""

    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: stripped(part) for key, part in value.items() if "seconds" not in key}
        if isinstance(value, list):
            return [stripped(part) for part in value if not is_timing(part)]
        return value

    def is_timing(part: Any) -> bool:
        return isinstance(part, dict) and part.get("metric") == "seconds"

    return json.dumps(stripped(json.loads(text)), sort_keys=True)


def digest(tensors: dict[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of ``tensors``, in the order of the names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        found.update(name.encode())
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous()
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        else:
            found.update(repr(value).encode())
    return found.hexdigest()[:16]


def last_frame(error: BaseException) -> str:
    """File, function and line of the innermost frame of the package, or of any where it has none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if f"{Path('flowprior')}/" in frame.filename] or frames
    name = own[-1].filename.rpartition("flowprior/")[2]
    return f"flowprior/{name}:{own[-1].lineno} {own[-1].name}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise :class:`Hang` after ``seconds``, and once a second from then on, should one be swallowed."""

    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
