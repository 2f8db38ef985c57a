"""The stream of training pairs, addressed by step, and the generators of all that is random in a run.

The data order is one endless sequence of indices: a fresh permutation for each epoch. Step s takes the
indices s·B … (s + 1)·B − 1, whatever the prior and coupling are, and micro-batch k of n the k-th part of
these. A coupling that draws several batches at once (``Coupling.draw_size``) is handed consecutive
(micro-)batches of that same sequence. Where events have several conditions, such as five captions, each visit
draws one, by a number of (seed, epoch, event).

Random numbers have no state: there is one generator for each (seed, purpose, step). A resumed run needs only
the step number to draw what the uninterrupted run would have drawn, and two runs that differ in their prior
or coupling see the same data order, times and dropped conditions.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import moved, pieces, pinned, rows
from flowprior.couplings import Coupling, source_mismatch, transport_cost
from flowprior.data.base import Data
from flowprior.errors import InputError, OptionError
from flowprior.priors import Prior

EXAMPLES = 2048
"""The largest number of training examples on which source samples and pairs are measured."""
Pairs = tuple[Tensor, Tensor, Conditions | None]
"""(x0 ``[B, *event]``, x1 ``[B, *event]``, condition or None)."""


class IndexStream:
    """The endless sequence of data indices, epoch after epoch, each a random order.

    Args:
        examples: size of the data set.
        seed: the seed of the run; epoch e is shuffled by (seed, e).
    """

    def __init__(self, examples: int, seed: int) -> None:
        if examples < 1:
            raise InputError("training: expected at least one example, got an empty data set")
        self.examples = examples
        self._randomness = Randomness(seed)
        # The values of the last epochs are kept.
        self._epoch = lru_cache(4)(self._drawn)

    def take(self, start: int, count: int) -> Tensor:
        """Return indices ``[count]`` (int64) at positions ``start`` … ``start + count - 1``."""
        return self._at(start, count, "epoch", torch.randperm)

    def chances(self, start: int, count: int) -> Tensor:
        """Return uniform numbers in [0, 1) ``[count]`` at the same positions, for the draws of a visit."""
        return self._at(start, count, "condition of a visit", torch.rand)

    def _at(self, start: int, count: int, purpose: str, draw: Callable[..., Tensor]) -> Tensor:
        """Return what ``draw`` gives of each epoch, at these positions of all epochs together."""
        epoch, offset = divmod(start, self.examples)
        found = self._epoch(epoch, purpose, draw)[offset : offset + count]
        left = count - len(found)
        return torch.cat([found, self._at(start + len(found), left, purpose, draw)]) if left else found

    def _drawn(self, epoch: int, purpose: str, draw: Callable[..., Tensor]) -> Tensor:
        return draw(self.examples, generator=self._randomness.generator(purpose, epoch))


class PairStream:
    """The batches of coupled pairs, one for each step, in one or more micro-batches of equal size.

    Source samples are drawn, and paired, within a micro-batch: they depend on how many of them there are, but
    never on which process takes which.

    Args:
        data: the training set.
        prior: the fitted prior, on the device of ``randomness``.
        coupling: the coupling, which draws the source samples for ``coupling.draw_size(size)`` data at once.
        batch_size: pairs a step.
        randomness: generators on the device where pairs are wanted.
        micro_batches: parts of a batch.

    Attributes:
        size: pairs of a micro-batch.
        draw_size: pairs that the coupling draws at once.

    Raises:
        OptionError: the batch size is no multiple of ``micro_batches``, or the coupling's draw size none of
            ``size``.
    """

    def __init__(
        self,
        data: Data,
        prior: Prior,
        coupling: Coupling,
        batch_size: int,
        randomness: Randomness,
        micro_batches: int = 1,
    ) -> None:
        self.data, self.prior, self.coupling = data, prior, coupling
        self.batch_size, self.randomness, self.micro_batches = batch_size, randomness, micro_batches
        if batch_size % micro_batches:
            raise OptionError(
                f"training: batch_size={batch_size} cannot be divided into {micro_batches} micro-batches of "
                "equal size; take a multiple"
            )
        self.size = batch_size // micro_batches
        self.draw_size = coupling.draw_size(self.size)
        if self.draw_size < self.size or self.draw_size % self.size:
            kind = "batch_size" if micro_batches == 1 else "a micro-batch's size"
            raise OptionError(
                f"training: the coupling draws {self.draw_size} pairs at once, expected a multiple of "
                f"{kind}={self.size}; change one of them"
            )
        self._indices = IndexStream(len(data), randomness.seed)
        self._drawn: dict[int, tuple[int, Pairs]] = {}

    def micro_batch(self, step: int, part: int = 0) -> Pairs:
        """Return the pairs of one part of ``step``: a slice of the superbatch that it lies in."""
        number, first = divmod(step * self.size, self.draw_size)
        drawn = self._drawn.get(part)
        if drawn is None or drawn[0] != number:
            if self.draw_size == self.size:
                self._drawn.clear()  # nothing of another part is asked for again
            drawn = self._drawn[part] = (number, self._draw(number, part))
        own = slice(first, first + self.size)
        x0, x1, cond = drawn[1]
        return x0[own], x1[own], rows(cond, own)

    def _draw(self, number: int, part: int) -> Pairs:
        """Return the superbatch of this number: one part of consecutive steps."""
        together = self.draw_size // self.size
        steps = range(number * together, (number + 1) * together)
        starts = [step * self.batch_size + part * self.size for step in steps]
        indices = torch.cat([self._indices.take(start, self.size) for start in starts])
        chance = None
        if self.data.condition_counts is not None:
            chance = torch.cat([self._indices.chances(start, self.size) for start in starts])
        x1, cond = fetch(self.data, indices, self.randomness.device, chance)
        purpose = "coupling" if part == 0 else f"coupling of micro-batch {part}"
        generator = self.randomness.generator(purpose, number)
        given = self.coupling.sources(self.data, indices)
        with torch.no_grad():
            x0, x1 = self.coupling.pairs(self.prior, x1, cond, generator=generator, **given)
        return x0, x1, cond


class Prefetched:
    """The micro-batches of a stream, up to ``ahead`` of them before they are asked for; a context.

    They are asked for one after the other, from any one on.

    Every draw has a generator of its own (:class:`Randomness`), so the pairs are those of the stream itself,
    whichever thread makes them. An error of the worker is raised where its micro-batch is asked for.

    Args:
        pairs: the stream; nobody else may ask it meanwhile.
        parts: numbers of the micro-batches of a step that are asked for, in their order.
        ahead: micro-batches that are prepared at most, 1 or more.
        steps: the number of steps of the whole run.
    """

    def __init__(self, pairs: PairStream, parts: range, ahead: int, steps: int) -> None:
        self._pairs, self._parts, self._ahead = pairs, parts, ahead
        self._end = steps * len(parts)
        device = pairs.randomness.device
        begin = partial(torch.cuda.set_device, device) if device.type == "cuda" else None
        self._worker = ThreadPoolExecutor(1, "pairs", begin)
        self._queue: deque[Future[Pairs]] = deque()

    def __enter__(self) -> Prefetched:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    def micro_batch(self, step: int, part: int = 0) -> Pairs:
        """Return the pairs of one part of ``step``; those of the next parts are then under way."""
        each = len(self._parts)
        place = step * each + self._parts.index(part)
        for number in range(place + len(self._queue), min(place + self._ahead + 1, self._end)):
            later, index = divmod(number, each)
            self._queue.append(self._worker.submit(self._pairs.micro_batch, later, self._parts[index]))
        return self._queue.popleft().result()


def fetch(
    data: Data, indices: Tensor, device: torch.device, chance: Tensor | None = None
) -> tuple[Tensor, Conditions | None]:
    """Return (x1, condition) of ``indices`` on ``device``; with ``chance`` ``[B]`` as training gets them."""
    x1, cond = data.batch(indices)
    if chance is not None:
        cond = data.training_condition(indices, cond, chance)
    if device.type == "cuda":  # from pageable memory the host would wait for the copy
        x1, cond = pinned(x1), None if cond is None else pinned(cond)
    return x1.to(device, non_blocking=True), moved(cond, device, non_blocking=True)


def measure_starts(pairs: PairStream) -> dict[str, Any]:
    """Measure the source mismatch of training and sampling, and the transport cost with and without coupling.

    On up to 2,048 training examples; pairs are drawn as many at once as in training.

    Returns:
        ``starts_gap`` (:func:`flowprior.couplings.source_mismatch`), ``transport_cost`` E‖x1 − x0‖² of the
        coupled pairs, and ``transport_cost_unpaired`` of the same data with source samples drawn as for
        sampling.
    """
    seed, device = pairs.randomness.seed, pairs.randomness.device
    indices = probe_indices(len(pairs.data), EXAMPLES, seed)
    x1, cond = fetch(pairs.data, indices, device)
    generator = pairs.randomness.generator("measures")
    unpaired = pairs.coupling.source(pairs.prior, cond, len(x1), generator=generator)
    x0 = pairs.coupling.sources(pairs.data, indices).get("x0")
    gap = source_mismatch(pairs.coupling, pairs.prior, x1, cond, generator=generator, x0=x0)
    conditions = pieces(cond, pairs.draw_size, len(x1))
    parts = zip(indices.split(pairs.draw_size), x1.split(pairs.draw_size), conditions, strict=True)
    drawn = [
        pairs.coupling.pairs(
            pairs.prior, x, c, generator=generator, **pairs.coupling.sources(pairs.data, own)
        )
        for own, x, c in parts
    ]
    return {
        "starts_gap": gap.as_dict(),
        "transport_cost": transport_cost(*map(torch.cat, zip(*drawn, strict=True))).item(),
        "transport_cost_unpaired": transport_cost(unpaired, x1).item(),
    }


def probe_indices(examples: int, count: int, seed: int) -> Tensor:
    """Return up to ``count`` distinct indices, the same ones for one seed, for measurements and pictures."""
    return torch.randperm(examples, generator=Randomness(seed).generator("probe"))[:count]


class Randomness:
    """The random generators of one run.

    Args:
        seed: the run's seed.
        device: the device on which the numbers are drawn.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)

    def generator(self, purpose: str, step: int = 0) -> torch.Generator:
        """Return a fresh generator, the same one whenever it is asked for."""
        return torch.Generator(self.device).manual_seed(mix(self.seed, purpose, step))

    def model_seeds_stay_inside(self) -> AbstractContextManager[None]:
        """Return a context that restores torch's global generators at its end; for :meth:`seed_model`."""
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def seed_model(self, step: int, part: int = 0) -> None:
        """Seed torch's global generators, which the dropout of a model's own layers draws from.

        Each micro-batch, ``part``, of a step has its own seed.
        Of the CPU and of the run's device alone: ``torch.manual_seed`` goes through every backend there is,
        which takes a hundred times as long.
        """
        seed = mix(self.seed, "model" if part == 0 else f"model, micro-batch {part}", step)
        torch.random.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)


def mix(seed: int, purpose: str, step: int = 0) -> int:
    """Return a 64-bit seed from a run's seed, a purpose and a step; any two of them are unrelated."""
    digest = hashlib.blake2b(f"{seed}:{purpose}:{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
