"""AdamW, its learning-rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from flowprior.training.config import TrainingConfig

SHORT = (torch.bfloat16, torch.float16)
"""Types in which a small change of a weight is rounded away."""


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Share of ``config.lr`` that step ``step`` (from 0) uses: linear warm-up, then a cosine to ``final_lr``.

    Warm-up step s uses (s + 1) / warmup; with w warm-up steps of S, step s ≥ w uses
    f + (1 − f) (1 + cos(π (s − w) / (S − 1 − w))) / 2, so the last step uses exactly f.
    """
    warmup = min(config.warmup, config.steps // 2)
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, config.steps - 1 - warmup))
    return config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * progress)) / 2


def warm_up_note(config: TrainingConfig) -> str | None:
    """One line where the run is too short for the whole warm-up; None where it is not."""
    if config.warmup <= config.steps // 2:
        return None
    return (
        f"{config.steps} steps are short for training.warmup={config.warmup}: the learning rate rises over "
        f"the first {config.steps // 2} of them, and falls from there"
    )


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the weights that want a gradient, fused where torch offers it."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in trained)
    return torch.optim.AdamW(
        trained,
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=fused,
    )


def build_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig, step: int = 0) -> LambdaLR:
    """The schedule, standing at ``step``; it has no other state."""
    return LambdaLR(optimizer, lambda s: learning_rate_factor(s, config), last_epoch=step - 1)


def ema_decay(highest: float, updates: int) -> float:
    """Decay after n updates: min(highest, (1 + n) / (10 + n)), so that the first weights are forgotten."""
    return min(highest, (1 + updates) / (10 + updates))


def build_ema(model: nn.Module, highest: float) -> AveragedModel:
    """Moving average of ``model``'s weights; its first update copies them, buffers are always copied.

    Averages of weights in shorter types are held in float32, where small changes are not rounded away.
    """

    def blend(averages: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | int) -> None:
        # The count is read from the CPU; the argument is on the GPU, and reading it would wait for the step.
        decay = ema_decay(highest, int(ema.n_averaged))
        same = [weight.to(average.dtype) for average, weight in zip(averages, weights, strict=True)]
        torch._foreach_lerp_(list(averages), same, 1 - decay)

    ema = AveragedModel(model, multi_avg_fn=blend)
    for tensor in (*ema.parameters(), *ema.module.buffers()):
        if tensor.dtype in SHORT:
            tensor.data = tensor.data.float()
    return ema.requires_grad_(False).eval()
