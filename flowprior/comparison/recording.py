"""Flows that keep what they generate, and flows that hand it out again.

A comparison evaluates a :class:`RecordingFlow`: :func:`flowprior.evaluate` sees a flow like any other, and
the samples that its figures are of go to a file. Its figures can be computed again from that file
alone, by evaluating a :class:`ReplayedFlow`, which generates nothing.
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


class _CopiedFlow(Flow):
    """A flow with the parts of another one."""

    def __init__(self, flow: Flow) -> None:
        specs = {f"{name}_spec": spec for name, spec in flow.specs.items()}
        super().__init__(
            flow.model, flow.prior, flow.coupling, flow.path, flow.condition, **specs, metadata=flow.metadata
        )
        self._calls: dict[str, int] = {}

    def _name(self, nfe: int | None, guidance: float, generator: torch.Generator | None) -> str:
        """Name of this call: its settings, and a number where the same ones come again."""
        seed = "" if generator is None else f"/seed={generator.initial_seed()}"
        name = f"nfe={'own' if nfe is None else nfe}/guidance={guidance:g}{seed}"
        count = self._calls[name] = self._calls.get(name, 0) + 1
        return name if count == 1 else f"{name}/call={count}"


class RecordingFlow(_CopiedFlow):
    """A flow that keeps the samples of every call of :meth:`solve`, trajectories apart.

    Args:
        flow: does the work.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow)
        self._kept: dict[str, tuple[Solution, Tensor | None]] = {}

    def solve(
        self,
        cond: Tensor | None = None,
        n: int | None = None,
        *,
        nfe: int | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        trajectory: bool = False,
        **options: Any,
    ) -> Solution:
        options |= {"nfe": nfe, "guidance": guidance, "generator": generator, "trajectory": trajectory}
        solution = super().solve(cond, n, **options)
        if not trajectory:
            self._kept[self._name(nfe, guidance, generator)] = (solution, cond)
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


class ReplayedFlow(_CopiedFlow):
    """A flow whose samples are read from a file that :class:`RecordingFlow` wrote.

    Args:
        flow: gives condition and shapes, and whatever is asked of it beside samples.
        path: the file.

    Raises:
        CheckpointError: the file is missing or corrupted.
    """

    def __init__(self, flow: Flow, path: Path | str) -> None:
        super().__init__(flow)
        self._path = path
        self._tensors, metadata = load_tensors(path)
        self._spent: dict[str, int] = json.loads(metadata["nfe"])

    def solve(
        self,
        cond: Tensor | None = None,
        n: int | None = None,
        *,
        nfe: int | None = None,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        trajectory: bool = False,
        **options: Any,
    ) -> Solution:
        if trajectory:
            options |= {"nfe": nfe, "guidance": guidance, "generator": generator}
            return super().solve(cond, n, trajectory=True, **options)
        name = self._name(nfe, guidance, generator)
        saved = self._tensors.get(f"cond/{name}")
        same = saved is None if cond is None else saved is not None and torch.equal(saved, cond.cpu())
        if f"x/{name}" not in self._tensors or not same:
            raise CheckpointError(
                f"{self._path} has no samples '{name}' of these conditions; run the comparison again"
            )
        return Solution(self._tensors[f"x/{name}"], self._spent[name], torch.tensor([0.0, 1.0]))
