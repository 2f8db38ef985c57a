"""The state of a training: all that changes, how it goes into a checkpoint and comes back."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from flowprior.data.base import data_facts
from flowprior.errors import CheckpointError, OptionError
from flowprior.flow import Flow
from flowprior.flow.conditioning import GIVEN_PRIOR
from flowprior.flow.description import load_plain, plain_names
from flowprior.flow.predictions import Prediction
from flowprior.flow.readers import LABEL_NAMES, TEXT_ENCODER
from flowprior.processes.group import Group
from flowprior.registry.plugins import package_version
from flowprior.storage.tensor_files import part_of
from flowprior.training.batches import Randomness
from flowprior.training.checkpoints import list_checkpoints, read_checkpoint, save_checkpoint
from flowprior.training.components import Components, times_and_weight
from flowprior.training.config import TrainingConfig, changed_values, flatten
from flowprior.training.config_file import train_command
from flowprior.training.run import package_commit

BACKEND = "inductor"
SHORT = (torch.bfloat16, torch.float16)
"""Types in which a small change of a weight is rounded away."""


class TrainingState:
    """The weights, their average, optimiser, running means and the number of steps done.

    Args:
        parts: the parts of the run; ``parts.model`` is trained in place.
        processes: the processes that train together.

    Attributes:
        begun: when this process began the run, by ``time.monotonic``.
        waited: seconds that this process waited for its pairs.
        best: step and validation loss of the averaged weights where it was lowest; None before the first.
        stale: the number of validation losses since then.
    """

    def __init__(self, parts: Components, processes: Group | None = None) -> None:
        self.begun, self.waited = time.monotonic(), 0.0
        self.parts, self.config = parts, parts.config.training
        self.processes = processes or Group()
        self.randomness = Randomness(self.config.seed, parts.device)
        self.step = 0
        self.saved: Path | None = None
        self.best: tuple[int, float] | None = None
        self.stale = 0
        self._best_weights: list[dict[str, Tensor]] = []
        self.prior_was_given = parts.prior.is_fitted
        self.model = parts.model.train()
        self.ema = build_ema(self.model, self.config.ema)
        self.weights = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        if not self.weights:
            raise OptionError(
                "train: expected a network with parameters that take a gradient, got none; call "
                "model.requires_grad_(True) on one that was trained before"
            )
        self.optimizer = torch.optim.AdamW(
            self.weights,
            lr=self.config.lr,
            betas=(0.9, self.config.beta2),
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self.means = RunningMean(parts.device)
        self.prediction: Prediction = Prediction.create(
            self.config.prediction, prior=parts.prior, coupling=parts.coupling, path=parts.path
        )
        self.times, self.loss_weight = times_and_weight(self.config, self.prediction)
        self.micro_batches = self.processes.size * self.config.accumulate
        network: Any = self.model
        if self.config.compile == "model":
            network = torch.compile(self.model, dynamic=False, backend=BACKEND)
        self.forward = self.processes.prepared(network)

    @property
    def own_parts(self) -> range:
        """The numbers of the micro-batches that this process takes of every step.

        What micro-batch k contains depends on k alone, so the same number of micro-batches gives the same
        training on any number of processes, up to rounding.
        """
        first = self.processes.rank * self.config.accumulate
        return range(first, first + self.config.accumulate)

    @property
    def averaged(self) -> nn.Module:
        """The model with averaged weights, in evaluation mode."""
        return self.ema.module.eval()

    @property
    def is_stale(self) -> bool:
        """True if the validation loss has not been lower for as long as the training has patience."""
        return 0 < self.config.patience <= self.stale

    def consider(self, loss: float) -> None:
        """Take this step for the best one if its validation loss is the lowest yet."""
        self.stale += 1
        if self.best is None or loss < self.best[1]:
            self.best, self.stale = (self.step, loss), 0
            if self.config.patience:
                modules = self.model, self.ema.module
                self._best_weights = [plain_names(deepcopy(module.state_dict())) for module in modules]

    def end(self) -> Flow:
        """Return the flow that is trained; with patience that of the best step, whose weights come back."""
        for module, weights in zip((self.model, self.ema.module), self._best_weights, strict=False):
            load_plain(module, weights)
        flow = self.flow()
        if self._best_weights and self.best is not None:
            flow.metadata["step"] = self.best[0]
        return flow

    def flow(self) -> Flow:
        """The flow with averaged weights, in evaluation mode; it shares them with this state."""
        parts, data = self.parts, self.parts.data
        of_one_process = replace(self.config, accumulate=self.micro_batches)  # that trains the same
        metadata: dict[str, Any] = {
            "step": self.step,
            "config": parts.config.as_dict(),
            "version": package_version(),
            "commit": package_commit(),
            "data": self._data_facts,
            "command": train_command(replace(parts.config, training=of_one_process), data.spec),
        }
        encoder = {"spec": data.text_encoder, "identity": data.text_encoder_identity}
        optional = {
            GIVEN_PRIOR: self.prior_was_given,
            TEXT_ENCODER: data.text_encoder is not None and encoder,
            LABEL_NAMES: {part: list(names) for part, names in (data.label_names or {}).items()},
        }
        return Flow(
            self.averaged,
            parts.prior,
            parts.coupling,
            parts.path,
            data.condition,
            prediction=self.config.prediction,
            **parts.specs,
            **parts.encoder,
            metadata=metadata | {key: value for key, value in optional.items() if value},
        )

    def save(self, folder: Path) -> Path:
        """Write a checkpoint below ``folder``; see :func:`save_checkpoint`."""
        training = {
            "optimizer": self.optimizer.state_dict(),
            "averaged": int(self.ema.n_averaged),
            "means": {"sums": self.means.sums.cpu(), "count": self.means.count},
            "data": self._data_size(),
            "micro_batches": self.micro_batches,
            "best": list(self.best) if self.best is not None else None,
            "stale": self.stale,
        }
        best = None if self.best is None else self.best[0]
        weights, keep = self.model.state_dict(), self.config.keep_checkpoints
        self.saved = save_checkpoint(folder, self.step, self.flow(), weights, training, keep, best)
        return self.saved

    def resume(self, folder: Path) -> Path | None:
        """Go on from the newest readable checkpoint below ``folder`` and return it; None if there is none.

        An unreadable one is skipped with a warning.

        Args:
            folder: RUN/checkpoints.

        Raises:
            CheckpointError: none can be read, or they are of another model, prior, configuration or data set;
                with patience also if that of the best step cannot be read.
            OptionError: their steps were divided into another number of micro-batches.
        """
        broken: list[str] = []
        for _, path in reversed(list_checkpoints(folder)):
            try:
                self._load(path)
            except CheckpointError as error:
                broken.append(f"{path.name}: {error}")
                warnings.warn(f"checkpoint {path} is skipped: {error}", RuntimeWarning, stacklevel=2)
            else:
                self.saved = path
                if self.best is not None and self.config.patience:
                    _, averaged, weights, _ = read_checkpoint(folder / f"step-{self.best[0]:06d}")
                    self._best_weights = [weights, part_of(averaged, "model")]
                return path
        if broken:
            raise CheckpointError(
                f"no checkpoint in {folder} can be read ({'; '.join(broken)}); remove the run and train again"
            )
        return None

    def _load(self, path: Path) -> None:
        description, averaged, weights, training = read_checkpoint(path)
        if training["data"] != self._data_size():
            raise CheckpointError(
                f"{path} was trained on data of size {training['data']}, got {self._data_size()}; resume on "
                "the same data"
            )
        config = description["metadata"].get("config", {})
        if changed := changed_values(flatten(config), self.parts.config):
            raise CheckpointError(f"{path} was trained with another configuration ({', '.join(changed)})")
        trained = training.get("micro_batches", 1)
        if trained != self.micro_batches:
            raise OptionError(
                f"{path} was trained with {trained} micro-batches a step, got {self.micro_batches} "
                f"({self.processes.size} processes × accumulate={self.config.accumulate}), and so with other "
                "pairs; change one of them"
            )
        try:
            load_plain(self.model, weights)
            load_plain(self.ema.module, part_of(averaged, "model"))
            self.optimizer.load_state_dict(training["optimizer"])
            # Assigned, so that the prior keeps the dtype it was fitted in.
            load_plain(self.parts.prior, part_of(averaged, "prior"), assign=True)
            self.parts.prior.to(self.parts.device)
            self.ema.n_averaged.fill_(training["averaged"])
            self.means.sums.copy_(training["means"]["sums"])
            self.means.count = int(training["means"]["count"])
            best = training.get("best")  # of older versions: none
            self.best = None if best is None else (int(best[0]), float(best[1]))
            self.stale = int(training.get("stale", 0))
        except Exception as error:  # Whatever optimiser and model make of values that are not their own.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path} does not fit this model and prior: {reason}") from error
        self.step = training["step"]

    @cached_property
    def _data_facts(self) -> dict[str, Any]:
        return data_facts(self.parts.data)

    def _data_size(self) -> list[int]:
        return [len(self.parts.data), *self.parts.data.event_shape]


class RunningMean:
    """The means of loss and gradient norm since the last log line, held on the device they came from."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(2, dtype=torch.float32, device=device)
        self.count = 0

    def add(self, values: Tensor) -> None:
        """Add one step's values ``[2]``, without waiting for the device."""
        self.sums += values
        self.count += 1

    def is_finite(self) -> bool:
        """Return True if every value since the last reset was finite; waits for the device."""
        return all(map(math.isfinite, self.sums.tolist()))

    def take(self) -> list[float]:
        """Return the means of loss and gradient norm, and start over."""
        means = (self.sums / self.count).tolist()
        self.sums.zero_()
        self.count = 0
        return means


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate at ``step`` (from 0): linear warm-up to ``lr``, then a cosine to ``final_lr``.

    Warm-up step s uses the share (s + 1) / warmup of ``lr``; with w warm-up steps of S, step s ≥ w uses
    f + (1 − f) (1 + cos(π (s − w) / (S − 1 − w))) / 2, so the last step uses exactly f = ``final_lr``.
    """
    warmup = min(config.warmup, config.steps // 2)
    if step < warmup:
        return config.lr * ((step + 1) / warmup)
    progress = min(1.0, (step - warmup) / max(1, config.steps - 1 - warmup))
    return config.lr * (config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * progress)) / 2)


def build_ema(model: nn.Module, highest: float) -> AveragedModel:
    """Build the average of ``model``'s weights; its first update copies them, buffers are always copied.

    Averages of weights in shorter types are held in float32, where small changes are not rounded away.
    """

    def blend(averages: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | int) -> None:
        # The count is read from the CPU; the argument is on the GPU, and reading it would wait for the step.
        updates = int(ema.n_averaged)
        decay = min(highest, (1 + updates) / (10 + updates))  # a ramp that forgets the first weights
        if weights[0].dtype != averages[0].dtype:  # each call is given tensors of one dtype
            weights = [weight.to(averages[0].dtype) for weight in weights]
        torch._foreach_lerp_(list(averages), list(weights), 1 - decay)

    ema = AveragedModel(model, multi_avg_fn=blend)
    for tensor in (*ema.parameters(), *ema.module.buffers()):
        if tensor.dtype in SHORT:
            tensor.data = tensor.data.float()
    return ema.requires_grad_(False).eval()
