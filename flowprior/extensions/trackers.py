"""The callbacks that show a run in TensorBoard or at Weights & Biases."""

from __future__ import annotations

import abc
import re
import secrets
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from flowprior.errors import OptionError, pip_install
from flowprior.registry.options import choose
from flowprior.storage.reading import read_text
from flowprior.storage.writing import write_text
from flowprior.training.callbacks import Callback, TrainingStart

ID_LIMIT = 64
"""The largest number of characters of a run's id."""


class Tracker(Callback, abc.ABC):
    """The base class of callbacks that show a run's values in another program, named by their stage."""

    def check(self, folder: Path | None) -> None:
        if folder is None:
            raise OptionError(
                f"callback '{self.name}' writes into the run's folder; give train one with out (--out)"
            )

    @abc.abstractmethod
    def show(self, values: Mapping[str, float], step: int) -> None:
        """Show values by their names."""

    def on_log(self, step: int, values: Mapping[str, float]) -> None:
        self.show({f"train/{name}": value for name, value in values.items()}, step)

    def on_validation(self, step: int, values: Mapping[str, float]) -> None:
        self.show({f"validation/{name}": value for name, value in values.items()}, step)


@Callback.register("tensorboard")
class TensorBoard(Tracker):
    """Curves and pictures in event files for TensorBoard, in RUN/tensorboard (extra tensorboard).

    Raises:
        OptionError: the extra is not installed, or there is no run folder.
    """

    def __init__(self) -> None:
        self._module = imported("torch.utils.tensorboard", "tensorboard")

    def on_start(self, start: TrainingStart) -> None:
        folder = str((start.folder or Path()) / "tensorboard")
        # What a killed run had written after the checkpoint that it goes on from is hidden.
        self._writer = self._module.SummaryWriter(folder, purge_step=start.step + 1)

    def show(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def on_sample(self, step: int, picture: Path) -> None:
        from torchvision.io import ImageReadMode, decode_image

        self._writer.add_image("samples", decode_image(str(picture), ImageReadMode.RGB), step)

    def on_end(self, step: int, status: str) -> None:
        self._writer.add_text("status", status, step)
        self._writer.close()


@Callback.register("wandb")
class WeightsAndBiases(Tracker):
    """Curves, pictures and the configuration at Weights & Biases (extra wandb).

    A run that is taken up again goes on there, too: its id is kept in RUN/wandb-id.

    Args:
        project: the project of the run.
        display_name: the name of the run; empty for a name by Weights & Biases.
        mode: ``online``, ``offline`` (files below RUN/wandb alone, to be sent later) or ``disabled``.

    Raises:
        OptionError: the extra is not installed, another ``mode``, or there is no run folder.
    """

    def __init__(self, project: str = "flowprior", display_name: str = "", mode: str = "online") -> None:
        choose("callback 'wandb'", "mode", mode, ("online", "offline", "disabled"))
        self.project, self.display_name, self.mode = project, display_name, mode
        self._module = imported("wandb", "wandb")

    def on_start(self, start: TrainingStart) -> None:
        note = (start.folder or Path()) / "wandb-id"
        self._run = self._module.init(
            project=self.project,
            name=self.display_name or None,
            mode=self.mode,
            dir=str(note.parent),
            id=kept_id(note),
            resume="allow",
            config=start.config.as_dict(),
        )

    def show(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def on_sample(self, step: int, picture: Path) -> None:
        self._run.log({"samples": self._module.Image(str(picture))}, step=step)

    def on_end(self, step: int, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status in ("finished", "interrupted") else 1)


def kept_id(note: Path) -> str:
    """Return the id in the file ``note``; without one, write a new id there."""
    kept = read_text(note, ID_LIMIT).strip() if note.is_file() else ""
    if not re.fullmatch(r"[0-9a-f]{16}", kept):
        kept = secrets.token_hex(8)
        write_text(note, kept + "\n")
    return kept


def imported(module: str, extra: str) -> Any:
    """Import a module of an extra.

    Raises:
        OptionError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise OptionError(f"callback '{extra}': {extra} is not installed; {pip_install(extra)}") from error
