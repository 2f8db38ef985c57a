"""Samples that are kept as they are generated, and handed out again.

A comparison evaluates each flow itself, and only takes the samples from elsewhere: from a :class:`Recorder`,
which asks the flow and keeps what it gave for a file. The figures can be computed again from that file alone,
where a :class:`Replay` of it generates in the flow's place. Neither is a flow or a copy of one, so nothing of
a flow can be lost in them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flowprior.errors import CheckpointError
from flowprior.flow import Flow
from flowprior.samplers import Solution
from flowprior.storage import load_tensors, save_tensors


class Calls:
    """Names for calls of :meth:`flowprior.flow.Flow.solve`, the same whenever the same calls are made."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def name(self, nfe: int | None, guidance: float, generator: torch.Generator | None) -> str:
        """Name of this call: its settings, and a number where the same ones come again."""
        seed = "" if generator is None else f"/seed={generator.initial_seed()}"
        name = f"nfe={'own' if nfe is None else nfe}/guidance={guidance:g}{seed}"
        count = self._seen[name] = self._seen.get(name, 0) + 1
        return name if count == 1 else f"{name}/call={count}"


class Recorder:
    """Called like :meth:`flowprior.flow.Flow.solve`, it lets the flow solve and keeps the samples.

    Args:
        flow: does the work.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._calls = Calls()
        self._kept: dict[str, tuple[Solution, Tensor | None]] = {}

    def __call__(
        self,
        cond: Tensor | None = None,
        n: int | None = None,
        *,
        nfe: int | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Solution:
        solution = self._flow.solve(cond, n, nfe=nfe, guidance=guidance, generator=generator, **options)
        self._kept[self._calls.name(nfe, guidance, generator)] = (solution, cond)
        return solution

    def save_samples(self, path: Path | str) -> None:
        """Write the samples: tensors ``x/…`` ``[N, *event]`` and ``cond/…`` for each call.

        The metadata's ``nfe`` says what each call spent.

        Raises:
            CheckpointError: the file cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        for name, (solution, cond) in self._kept.items():
            tensors[f"x/{name}"] = solution.x
            if cond is not None:
                tensors[f"cond/{name}"] = cond
        spent = {name: solution.nfe for name, (solution, _) in self._kept.items()}
        save_tensors(path, tensors, {"nfe": json.dumps(spent)})


class Replay:
    """Called like :meth:`flowprior.flow.Flow.solve`, it gives the samples of a file and generates none.

    Args:
        path: the file, written by :class:`Recorder`.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._calls = Calls()
        self._tensors, metadata = load_tensors(path)
        self._spent: dict[str, int] = json.loads(metadata["nfe"])

    def __call__(
        self,
        cond: Tensor | None = None,
        n: int | None = None,
        *,
        nfe: int | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Solution:
        name = self._calls.name(nfe, guidance, generator)
        saved = self._tensors.get(f"cond/{name}")
        same = saved is None if cond is None else saved is not None and torch.equal(saved, cond.cpu())
        if f"x/{name}" not in self._tensors or not same:
            raise CheckpointError(
                f"{self._path} has no samples '{name}' of these conditions; run the comparison again"
            )
        return Solution(self._tensors[f"x/{name}"], self._spent[name], torch.tensor([0.0, 1.0]))
