"""The loss on held-out events, always at the same times and from the same source samples."""

from __future__ import annotations

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions import rows as rows_of
from flowprior.data import Data
from flowprior.training.batches import Randomness, fetch
from flowprior.training.loop import batch_loss
from flowprior.training.state import TrainingState

TIMES = 8
LOSS = "validation_loss"


class Validation:
    """Measures the averaged weights on events that no step sees.

    The loss is that of the training, but at the middles of eight equal parts of [0, 1], whatever the law of
    the training's times is (of average velocities that of the velocity), and without weights that follow the
    errors: event i of a fixed order is looked at at time i mod 8. Pairs are those of the
    coupling for new data, the same ones at every call, so that two values differ by their weights alone.

    Args:
        held: events that are held out.
        randomness: of the run.
    """

    def __init__(self, held: Data, randomness: Randomness) -> None:
        self.held, self.randomness = held, randomness
        self._order = torch.randperm(len(held), generator=Randomness(randomness.seed).generator("validation"))

    @torch.no_grad()
    def measure(self, state: TrainingState) -> dict[str, float]:
        """``validation_loss``, and ``validation_loss_at_T`` at each time T that has events."""
        device, size = self.randomness.device, state.parts.coupling.draw_size(state.config.batch_size)
        sums = torch.zeros(TIMES, dtype=torch.float64, device=device)
        for number, indices in enumerate(self._order.split(size)):
            x1, cond = fetch(self.held, indices, device)
            generator = self.randomness.generator("validation", number)
            x0, x1 = state.parts.coupling.pairs_of_new(state.parts.prior, x1, cond, generator=generator)
            for part in range(TIMES):
                rows = slice((part - number * size) % TIMES, None, TIMES)
                sums[part] += self._loss(state, x0[rows], x1[rows], rows_of(cond, rows), (part + 0.5) / TIMES)
        counts = torch.bincount(torch.arange(len(self.held)) % TIMES, minlength=TIMES)
        losses = {LOSS: float(sums.sum()) / len(self.held)}
        for part, (total, count) in enumerate(zip(sums.tolist(), counts.tolist(), strict=True)):
            if count:
                losses[f"{LOSS}_at_{(part + 0.5) / TIMES:g}"] = total / count
        return losses

    def _loss(
        self, state: TrainingState, x0: Tensor, x1: Tensor, cond: Conditions | None, time: float
    ) -> Tensor:
        """The sum of the losses of all rows at one time, a scalar."""
        if len(x1) == 0:
            return x1.new_zeros(())
        t = torch.full((len(x1),), time, device=x1.device)
        x_t, u_t, _ = state.parts.path.interpolate(x0.float(), x1.float(), t)
        return len(x1) * batch_loss(state, state.averaged, x0.float(), x_t, u_t, t, cond, weigh_errors=False)
