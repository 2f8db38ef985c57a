"""FlowModule: a flow's training, step by step, for a trainer of Lightning's."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn

from flowprior.conditions import as_value, moved
from flowprior.couplings import Coupling
from flowprior.display import short
from flowprior.encoders import LatentEncoder
from flowprior.encoding import EncodedData
from flowprior.errors import CheckpointError, InputError, OptionError
from flowprior.flow import Flow
from flowprior.lightning.batches import TrainingBatches
from flowprior.lightning.package import LightningModule
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.progress import shows_progress
from flowprior.registry import package_version
from flowprior.training.compiled import compiling
from flowprior.training.components import Components, resolve_components, resolve_config
from flowprior.training.config import RunConfig, TrainingConfig, changed_values
from flowprior.training.from_parts import DeviceBatches, fit_prior
from flowprior.training.loop import (
    StepResult,
    batch_loss,
    diverged,
    drop_conditions,
    dropped_rows,
    loss_of_pairs,
    rows_of_part,
)
from flowprior.training.randomness import Randomness
from flowprior.training.state import TrainingState
from flowprior.training.validation import LOSS, TIMES
from flowprior.training.warm_start import start_from

KEY = "flowprior"
"""Of a checkpoint of Lightning's, what the weights do not say."""
PRECISION = "32-true"
Batch = tuple[Tensor, Any]


class FlowModule(LightningModule):
    """Prior, coupling, path, prediction and network, trained by a ``Trainer``.

    The words and defaults are those of :func:`flowprior.train`. Batches are (x1 ``[B, *event]``, condition or
    None): of a loader of your own, or the module's own, which are those of ``train`` with the same seed. With
    them and one process the weights are those of ``train``, bit for bit on the CPU. Optimiser, learning rate,
    clipping and averaged weights are the module's, too; when to log, to save and to stop is the trainer's:
    give it ``max_steps=steps``.

    What differs: a coupling that draws several batches at once pairs within each batch; options of logs,
    checkpoints, pictures, prefetch, time limits and devices have no effect. Several processes fit the prior
    each for itself.

    Args:
        data: as :func:`flowprior.train`; says the event's shape and the condition, and is what an unfitted
            prior is fitted to.
        prior, coupling, path, model, latent, config: as :func:`flowprior.train`.
        training_options: fields of :class:`~flowprior.training.TrainingConfig`, such as ``steps=4000``.

    Attributes:
        model: the network; ``average`` holds its averaged weights.
        prior: fitted when training begins, where it is not yet.
        config: everything resolved, as a run records it.

    Raises:
        OptionError: an impossible option, shards, or ``accumulate`` (the trainer's
            ``accumulate_grad_batches`` takes its place).
        InputError: data that prior or network cannot be trained on.
    """

    def __init__(
        self,
        data: Any = None,
        *,
        prior: str | Prior | None = None,
        coupling: str | Coupling | None = None,
        path: str | Path | None = None,
        model: str | nn.Module | None = None,
        latent: str | LatentEncoder | None = None,
        config: RunConfig | TrainingConfig | str | FilePath | None = None,
        **training_options: Any,
    ) -> None:
        super().__init__()
        given: dict[str, Any] = {"data": data, "prior": prior, "coupling": coupling}
        given |= {"path": path, "model": model, "latent": latent}
        self._parts = _resolved(given, config, training_options)
        self._state = TrainingState(self._parts)
        self.config: RunConfig = self._parts.config
        self.model, self.average, self.prior = self._state.model, self._state.ema, self._parts.prior

    def on_fit_start(self) -> None:
        """Fit prior and coupling, on the trainer's device, where no checkpoint has brought the prior."""
        self._check_trainer()
        parts = replace(self._parts, device=self.device)
        if isinstance(parts.data, EncodedData):
            parts.data.prepare(None)
        shown = self.trainer.is_global_zero and shows_progress()
        fit_prior(parts, self._randomness, progress=shown)
        generator = self._randomness.generator("coupling fit")
        parts.coupling.fit(parts.prior, DeviceBatches(parts), generator=generator)

    def train_dataloader(self) -> TrainingBatches:
        """The batches of ``train``, for a trainer that is given no loader."""
        training, trainer = self.config.training, self.trainer
        count = training.steps * trainer.accumulate_grad_batches
        begin, place = lambda: self._state.step, {"rank": self.global_rank, "size": trainer.world_size}
        return TrainingBatches(self._parts.data, training.batch_size, count, training.seed, begin, **place)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Events and their conditions, named parts and token states too, on ``device``."""
        x1, cond = _pair(batch)
        return x1.to(device), None if cond is None else moved(as_value(cond), device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch (x1, condition), a scalar: pairs, times, dropped conditions, network, loss."""
        state, randomness = self._state, self._randomness
        x1, cond = batch
        step, part = state.step, self.global_rank
        t, dropped = self._drawn_times(len(x1), step)
        purpose = "coupling" if part == 0 else f"coupling of micro-batch {part}"
        with torch.no_grad():
            generator = randomness.generator(purpose, step)
            x0, x1 = state.parts.coupling.pairs(state.parts.prior, x1, cond, generator=generator)
        cond = drop_conditions(cond, state.parts.data.condition, dropped)
        with randomness.model_seeds_stay_inside(), compiling(state.config.compile):
            randomness.seed_model(step, part)
            loss, x_t = state.in_graph(loss_of_pairs)(state, x0.float(), x1.float(), t, cond)
        if self.device.type == "cpu" and not bool(torch.isfinite(loss)):
            diverged(state, step + 1, StepResult(loss.detach(), x_t.detach()))
        self.log("train_loss", loss.detach(), prog_bar=True, batch_size=len(x1))
        state.step += 1
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log ``validation_loss``, of the averaged weights at eight fixed times, for a loader of your own."""
        state, (x1, cond) = self._state, batch
        generator = self._randomness.generator("validation", batch_idx)
        x0, x1 = state.parts.coupling.pairs_of_new(state.parts.prior, x1, cond, generator=generator)
        t = (torch.arange(len(x1), device=self.device) % TIMES + 0.5) / TIMES
        x_t, u_t, _ = state.parts.path.interpolate(x0.float(), x1.float(), t)
        loss = batch_loss(state, state.averaged, x0.float(), x_t, u_t, t, cond, weigh_errors=False)
        self.log(LOSS, loss, batch_size=len(x1), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW, and the warm-up and cosine of ``train``, step by step."""
        schedule = {"scheduler": self._state.scheduler, "interval": "step"}
        return {"optimizer": self._state.optimizer, "lr_scheduler": schedule}

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As the trainer says, else as ``training.clip``."""
        if gradient_clip_val is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif clip := self._state.config.clip:
            torch.nn.utils.clip_grad_norm_(self._state.weights, clip)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """A step of the optimiser, and of the averaged weights after it."""
        super().optimizer_step(*args, **kwargs)
        self._state.ema.update_parameters(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the weights do not say: the batches that were seen, and the configuration."""
        config = self.config.as_dict()
        checkpoint[KEY] = {"step": self._state.step, "config": config, "version": package_version()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: it is none of this module's, or of another configuration.
        """
        saved = checkpoint.get(KEY)
        if not isinstance(saved, dict):
            raise CheckpointError(
                "lightning: expected a checkpoint of a FlowModule; load it with its own module"
            )
        if changed := changed_values(saved["config"], self.config):
            raise CheckpointError(
                f"lightning: the checkpoint was trained with another configuration ({', '.join(changed)}); "
                "make the module with the same words"
            )
        self._state.step = int(saved["step"])

    def to_flow(self) -> Flow:
        """A copy of the flow as it stands, with averaged weights, on the module's device.

        Raises:
            OptionError: the prior is not fitted yet.
        """
        if not self.prior.is_fitted:
            raise OptionError("lightning: the prior is not fitted yet; call trainer.fit(module) first")
        flow = copy.deepcopy(self._state.flow())
        flow.metadata["step"] = int(self.average.n_averaged)
        flow.metadata.pop("command", None)  # no command line has trained it
        return flow

    @property
    def _randomness(self) -> Randomness:
        return Randomness(self.config.training.seed, self.device)

    def _drawn_times(self, count: int, step: int) -> tuple[Tensor, Tensor | None]:
        """Times ``[B]``, or intervals ``[B, 3]``, and which rows lose their condition, of this process."""
        state, size, training = self._state, self.trainer.world_size, self.config.training
        rows = rows_of_part(self.global_rank, count * size, size)
        share = min(self.trainer.global_step / training.steps, 1.0)
        generator = self._randomness.generator("time", step)
        t = state.times.draw(count * size, share, generator, self.device)
        dropped = dropped_rows(count * size, training.dropped_share, step, self._randomness)
        return t[rows], None if dropped is None else dropped[rows]

    def _check_trainer(self) -> None:
        """Refuse what would train something else, and warn of a schedule that ends elsewhere."""
        trainer, steps = self.trainer, self.config.training.steps
        if trainer.precision != PRECISION:
            raise OptionError(
                f"lightning: Trainer(precision='{trainer.precision}') would put path and loss into it, too; "
                f"leave it at '{PRECISION}', and give FlowModule precision='bfloat16' for the network"
            )
        if trainer.max_steps not in (-1, steps):
            warnings.warn(
                f"lightning: the learning rate ends after steps={steps}, but Trainer(max_steps="
                f"{trainer.max_steps}) stops elsewhere; give both the same number",
                RuntimeWarning,
                stacklevel=2,
            )


def _pair(batch: Any) -> Batch:
    """(x1, condition or None) of what a loader gives: a pair, [x1], or x1 alone.

    Raises:
        InputError: something else.
    """
    parts = (batch,) if isinstance(batch, Tensor) else batch
    if not isinstance(parts, tuple | list) or len(parts) not in (1, 2) or not isinstance(parts[0], Tensor):
        raise InputError(
            f"lightning: expected batches (x1, condition) or x1, with x1 a tensor, got {short(batch)}"
        )
    return parts[0], parts[1] if len(parts) == 2 else None


def _resolved(given: dict[str, Any], config: Any, options: dict[str, Any]) -> Components:
    """The parts, on the CPU, from which the trainer moves them."""
    resolved = resolve_config(config, {**options, "device": "cpu"}, **given)
    training = resolved.training
    if training.shard or training.accumulate != 1:
        raise OptionError(
            "lightning: shard and accumulate are the trainer's here; use Trainer(strategy=…, "
            "accumulate_grad_batches=…)"
        )
    parts = resolve_components(resolved, **given)
    if training.init:
        start_from(parts.model, FilePath(training.init).expanduser())
    return parts
