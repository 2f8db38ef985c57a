"""A run's directory: its files, who may write into it, how it makes way for another run, and its info.json.

RUN/info.json has what ran where, on which versions, and what was measured before the first step.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import tomli_w
import torch

from flowprior.errors import CheckpointError, OptionError
from flowprior.flow import Flow
from flowprior.flow.description import DESCRIPTION
from flowprior.flow.files import (
    CHECKPOINTS,
    FLOW,
    FLOW_DIGEST,
    INFO,
    check_target,
    digest_of,
    is_flow_file,
    tell_cards,
)
from flowprior.registry.plugins import package_version
from flowprior.storage.lock import FolderLock
from flowprior.storage.reading import read_json, read_text
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import remove_files, remove_leftovers, write_json, write_text, writing
from flowprior.training.checkpoints import list_checkpoints, remove_checkpoint, remove_unfinished
from flowprior.training.config import RunConfig, changed_values
from flowprior.training.config_file import CONFIG_LIMIT, load_config

_MARK = "# The configuration of a run; change it by options of train, not here."
"""The line that begins every config.toml of a run."""
LONGEST = 40
"""The largest number of characters of each component in the name of a new run."""
PICTURE = re.compile(r"step-\d{6,}\.png")


class RunDirectory:
    """The folder of one run, and the names of its files.

    Args:
        path: the directory RUN.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = expanded(path)
        self.config = self.path / "config.toml"
        self.info = self.path / INFO
        self.metrics = self.path / "metrics.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / CHECKPOINTS
        self.flow = self.path / FLOW
        self.latents = self.path / "latents"

    @contextmanager
    def opened(self, config: RunConfig, resume: bool, overwrite: bool) -> Iterator[None]:
        """Hold the folder as its one writer, checked again and free of what a killed process left.

        Args:
            config: the configuration to train.
            resume: the run in this folder goes on.
            overwrite: it is replaced.

        Raises:
            OptionError: another process is training here, or :meth:`check` or the configuration refuses it.
        """
        with FolderLock(self.path) as lock:
            self.check(resume, overwrite)  # another process may have trained here since
            if overwrite and not lock.held:
                raise OptionError(
                    f"train: {self.path} cannot be locked, so that another process may be training there; "
                    "nothing is replaced, choose another directory"
                )
            if not overwrite:
                self.check_unchanged(config)
            if lock.held:
                self._remove_leftovers()
            yield

    def check(self, resume: bool, overwrite: bool = False) -> None:
        """Check that a new run may start here, or that the run in this folder can go on; write nothing.

        Args:
            resume: the run in this folder goes on.
            overwrite: it is replaced.

        Raises:
            OptionError: the folder holds a run or something else that is neither to go on nor to be replaced.
            CheckpointError: ``flow`` is no saved flow.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OptionError(f"train: {self.path} is a file; choose a directory")
        if not self._holds_run():
            for path in (self.config, self.info, self.metrics, self.samples, self.checkpoints, self.flow):
                if path.is_file() or (path.is_dir() and any(path.iterdir())):
                    raise OptionError(
                        f"train: {self.path} holds '{path.name}' but no run; choose another directory, so "
                        "that nothing of yours is replaced"
                    )
        elif resume or overwrite:
            check_target(self.flow)
        else:
            raise OptionError(
                f"train: {self.path} already holds a run; pass resume=True (--resume) to go on with it, "
                "overwrite=True (--overwrite) to replace it, or choose another directory"
            )

    def _holds_run(self) -> bool:
        """Return True if the folder has a checkpoint, or a configuration that a run has written."""
        if list_checkpoints(self.checkpoints):
            return True
        return self.config.is_file() and read_text(self.config, CONFIG_LIMIT).startswith(_MARK)

    def create(self, config: RunConfig) -> None:
        """Make the directory and write config.toml, in one move."""
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(self.config, f"{_MARK}\n{tomli_w.dumps(config.as_dict())}")

    def read_config(self) -> RunConfig:
        """Return the configuration of the run.

        Raises:
            OptionError: config.toml is missing, damaged, or no configuration.
        """
        return load_config(self.config)

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of a killed process; only for the holder of the lock."""
        with writing(self.path):
            remove_unfinished(self.checkpoints)
            remove_leftovers(self.path, *(path.name for path in (self.config, self.info, self.metrics)))
            remove_leftovers(self.samples, "*")

    def check_unchanged(self, new: RunConfig) -> None:
        """Check that a configuration trains what the run in this folder trains, if there is one.

        Raises:
            OptionError: a value differs that a resumed run may not change, or config.toml is damaged.
        """
        if not self.config.exists():
            return
        before = self.read_config()
        changed, steps = changed_values(before.flat(), new), (before.training.steps, new.training.steps)
        if steps[1] < steps[0]:
            changed.append("training.steps {} -> {}".format(*steps))
        if changed:
            raise OptionError(
                f"train: {self.path} was trained with another configuration ({', '.join(changed)}); "
                "resume with the old values, or choose another directory"
            )


def new_run_folder(config: RunConfig, parent: Path = Path("runs")) -> Path:
    """Make ``parent/DATA-PRIOR-COUPLING-N`` with the first N from 1 that is free, and return it.

    Two processes that ask at once get two folders, for each of them makes its own or goes on counting.

    Args:
        config: the resolved configuration, whose components give the name.
        parent: the folder of the runs; made if it is missing.

    Raises:
        CheckpointError: the folder cannot be made.
    """
    name = "-".join(_word(text) for text in (config.data, config.prior, config.coupling))
    with writing(parent / name):
        parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = parent / f"{name}-{number}"
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise AssertionError("unreachable")


def clear_run(run: RunDirectory) -> None:
    """Remove the flow, checkpoints, pictures, metrics and configuration of a run.

    Only for the holder of the run's lock. The configuration goes last: a process that is killed before leaves
    a folder that still counts as a run. What somebody else put there stays, and so do evaluations, which are
    bound to the weights that they are of.

    Raises:
        CheckpointError: a checkpoint or the flow cannot be removed, or a folder is a link to another place.
    """
    foreign = [folder for folder in (run.flow, run.checkpoints, run.samples) if folder.is_symlink()]
    if not foreign:
        tell_cards("remove_card", run.flow)
        foreign = [path for path in run.flow.glob("*") if path.name != DESCRIPTION and not is_flow_file(path)]
    if foreign:
        raise CheckpointError(
            f"train: the run in {run.path} cannot be replaced: {foreign[0]} is a link to another place, or "
            "was written by somebody else; remove it, or choose another directory"
        )
    remove_checkpoint(run.flow)
    for _, checkpoint in list_checkpoints(run.checkpoints):
        remove_checkpoint(checkpoint)
    if run.samples.is_dir():
        remove_files(path for path in run.samples.iterdir() if PICTURE.fullmatch(path.name))
    for folder in (run.samples, run.checkpoints):
        with suppress(OSError):
            folder.rmdir()
    if run.flow.exists() or list_checkpoints(run.checkpoints):
        raise CheckpointError(
            f"train: the run in {run.path} cannot be replaced: some of its files cannot be removed, or "
            "there are others beside them; choose another directory"
        )
    remove_files([run.metrics, run.info, run.config])


def _word(spec: str) -> str:
    """Return the name in a spec string, or the stem of a path, as part of a file's name."""
    name = spec.partition(":")[0]
    stem = Path(name).stem if "/" in name or "\\" in name or "." in name else name
    return re.sub(r"[^\w-]+", "-", stem).strip("-")[:LONGEST] or "data"


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return the versions, commits, device, threads and command of this process."""
    return {
        "version": package_version(),
        "commit": package_commit(),
        "working_directory_commit": git_commit(Path.cwd()),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


@functools.cache
def package_commit() -> str | None:
    """Return the commit of the checkout that flowprior runs from; None where it is installed."""
    tracked = _git(Path(__file__).parent, "ls-files", "--error-unmatch", Path(__file__).name)
    return git_commit(Path(__file__).parent) if tracked else None


def git_commit(folder: Path) -> str | None:
    """Return the commit of the checkout of ``folder``, with ``-dirty`` on changed files; None outside one.

    Tables in ``benchmarks/results`` do not count as changed: a study writes them between its runs.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    counted = ("--", ":(top)", ":(top,exclude)benchmarks/results")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", *counted)
    return f"{commit}-dirty" if commit and changed else commit


class RunInfo:
    """The file info.json.

    Keys: those of :func:`describe_machine`, ``processes``, ``started``, ``ended``, ``status`` (running,
    finished, interrupted, diverged or failed), ``step``, ``prior_fit_seconds`` and the measures of the start,
    ``flow_digest`` of the flow that the run has saved, and ``resumed``: one record for each time the run was
    resumed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def start(self, device: torch.device, step: int, processes: int = 1, **measures: Any) -> None:
        """Note that a run starts with these measures, or goes on from ``step``."""
        machine = {**describe_machine(device), "processes": processes, "started": now()}
        if step == 0:
            own = {**machine, **measures, "resumed": []}
        else:
            before = self.read().get("resumed")
            own = {"resumed": [*(before if isinstance(before, list) else []), {"step": step, **machine}]}
        self.update(status="running", step=step, **own)

    def end(self, step: int, status: str, best: tuple[int, float] | None = None) -> None:
        """Note how and when the run ended, and at which step the validation loss was lowest."""
        found = {} if best is None else {"best_step": best[0], "best_validation_loss": best[1]}
        self.update(status=status, step=step, ended=now(), **found)

    def read(self) -> dict[str, Any]:
        """Return the file as a dictionary, empty if it is missing or not what was written."""
        try:
            return read_json(self._path)
        except CheckpointError:
            return {}

    def update(self, **values: Any) -> None:
        """Set some keys and keep the others; the file is replaced in one move."""
        write_json(self._path, {**self.read(), **values})


def save_run_flow(flow: Flow, run: RunDirectory) -> None:
    """Save the flow of a run, whose digest info.json then has.

    A process that is killed in between leaves a flow without a digest there, as older versions do.

    Raises:
        CheckpointError: a file cannot be written.
    """
    info = RunInfo(run.info)
    info.update(**{FLOW_DIGEST: None})
    flow.save(run.flow)
    info.update(**{FLOW_DIGEST: digest_of(run.flow)})


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "cpu"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
