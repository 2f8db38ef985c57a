"""Samples that are kept as they are generated, handed out again, and generated anew to see that they agree.

A study evaluates each flow itself, and only takes the samples from elsewhere: from a :class:`Recorder`,
which asks the flow and keeps what it gave for a file. The values can be computed again from that file alone,
where a :class:`Replay` of it generates in the flow's place. Neither is a flow or a copy of one, so nothing
of a flow can be lost in them. All of them are called like :meth:`flowprior.flow.Flow.solve`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.samplers import Solution
from flowprior.storage import load_tensors, save_tensors

SAMPLE_TOLERANCE = 1e-3
"""Largest difference of any number of a sample, in standard deviations of the kept samples' numbers.

On the same machine with as many threads the samples are equal bit for bit. Elsewhere sums are rounded in
another order, which moves them by about 1e-6, with adaptive samplers by about 1e-4; a flow that is read as
another one moves them by about 1.
"""


class Recorder:
    """Lets the flow solve and keeps the samples.

    Args:
        flow: does the work.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._calls: Counter[str] = Counter()
        self._kept: dict[str, tuple[Solution, Tensor | None]] = {}

    def __call__(self, cond: Tensor | None = None, n: int | None = None, **options: Any) -> Solution:
        solution = self.flow.solve(cond, n, **options)
        self._kept[_call_name(self._calls, **options)] = (solution, cond)
        return solution

    def save_samples(self, path: Path | str) -> None:
        """Write the samples: tensors ``x/…`` ``[N, *event]`` and ``cond/…`` for each call.

        The metadata's ``nfe`` says what each call spent.

        Raises:
            CheckpointError: the file cannot be written.
        """
        tensors = {f"x/{name}": solution.x for name, (solution, _) in self._kept.items()}
        conds = {f"cond/{name}": cond for name, (_, cond) in self._kept.items() if cond is not None}
        spent = {name: solution.nfe for name, (solution, _) in self._kept.items()}
        save_tensors(path, tensors | conds, {"nfe": json.dumps(spent)})


class Replay:
    """Gives the samples of a file and generates none.

    Args:
        path: the file, written by :class:`Recorder`.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._calls: Counter[str] = Counter()
        self._tensors, metadata = load_tensors(path)
        self.spent: dict[str, int] = json.loads(metadata["nfe"])

    def __call__(self, cond: Tensor | None = None, n: int | None = None, **options: Any) -> Solution:
        name = _call_name(self._calls, **options)
        saved = self._tensors.get(f"cond/{name}")
        same = saved is None if cond is None else saved is not None and torch.equal(saved, cond.cpu())
        if f"x/{name}" not in self._tensors or not same:
            raise CheckpointError(
                f"{self._path} has no samples '{name}' of these conditions; run the comparison again"
            )
        return Solution(self._tensors[f"x/{name}"], self.spent[name], torch.tensor([0.0, 1.0]))


class Regenerating(Replay):
    """A :class:`Replay` that also generates anew what took the fewest evaluations, and what took none.

    Args:
        flow: the saved flow.
        asked: what the evaluation was asked, as the cell file's ``run`` holds it.
        path: the file of samples.

    Attributes:
        samples: how many were generated anew.
        largest: largest difference of these, in standard deviations of the kept samples' numbers.
        left_out: why none were; empty where some were.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """

    def __init__(self, flow: Flow, asked: dict[str, Any], path: Path | str) -> None:
        super().__init__(path)
        self._flow, self._batch_size = flow, asked["settings"]["batch_size"]
        counts = [nfe for nfe in self.spent.values() if nfe > 0]
        self._chosen = {0, None if asked["adaptive"] else min(counts, default=0)}
        self.samples, self.largest = 0, 0.0
        then, here = asked["settings"]["device"].partition(":")[0], flow.prior.event_dims.device.type
        same = then == here
        self.left_out = "" if same else f"they were drawn on {then}, and {here} draws other random numbers"

    def __call__(self, cond: Tensor | None = None, n: int | None = None, **options: Any) -> Solution:
        kept = super().__call__(cond, n, **options)
        if options.get("nfe") in self._chosen and not self.left_out:
            # In batches as then: their size decides in which order sums are rounded.
            anew = self._flow.solve(cond, n, **{**options, "batch_size": self._batch_size})
            self.samples += len(kept.x)
            self.largest = max(self.largest, _difference(kept.x, anew.x))
        return kept


def _call_name(
    seen: Counter[str],
    *,
    nfe: int | None = None,
    guidance: float = 1.0,
    generator: torch.Generator | None = None,
    **_: Any,
) -> str:
    """Name of a call of ``Flow.solve``: its settings, and a number where ``seen`` has the same ones."""
    seed = "" if generator is None else f"/seed={generator.initial_seed()}"
    name = f"nfe={'own' if nfe is None else nfe}/guidance={guidance:g}{seed}"
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}/call={seen[name]}"


def _difference(kept: Tensor, anew: Tensor) -> float:
    """Largest difference, in standard deviations of ``kept``; infinite where it is none, or shapes differ."""
    kept, anew = kept.detach().cpu().double(), anew.detach().cpu().double()
    if kept.shape != anew.shape:
        return float("inf")
    if torch.equal(kept, anew):
        return 0.0
    spread = kept.std(correction=0).clamp_min(torch.finfo(torch.float32).tiny)
    return float(((kept - anew).abs().max() / spread).nan_to_num(nan=float("inf"), posinf=float("inf")))
