"""Evaluate a flow and keep its samples; evaluate kept samples once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flowprior.data import load_data
from flowprior.data.base import Data
from flowprior.evaluation import Evaluation, evaluate
from flowprior.features import as_extractor
from flowprior.flow import Flow
from flowprior.metrics.base import select
from flowprior.metrics.setup import Generate
from flowprior.samplers import Sampler
from flowprior.study.grid import Grid
from flowprior.study.recording import Recorder


@dataclass(frozen=True)
class Splits:
    """The data of a comparison.

    Attributes:
        train: what flows and classifier are trained on.
        test: what generated samples are compared with.
    """

    train: Data
    test: Data

    @classmethod
    def load(cls, spec: str) -> Splits:
        """Both splits of a data set.

        Raises:
            FlowpriorError: there is none of this name, or its files are missing or corrupt.
        """
        return cls(load_data(spec, "train"), load_data(spec, "test"))


@dataclass(frozen=True)
class Request:
    """What :func:`flowprior.evaluate` is asked.

    Attributes:
        sampler: spec.
        nfe: evaluations of the velocity.
        samples: how many to generate at each.
        guidance: strength of classifier-free guidance.
        seed: of conditions and starts.
        options: further options.
    """

    sampler: str
    nfe: tuple[int, ...]
    samples: int
    guidance: float
    seed: int
    options: Mapping[str, Any]

    @property
    def adaptive(self) -> bool:
        """Whether the sampler chooses its own number of evaluations."""
        return Sampler.registry.resolve(self.sampler).adaptive

    def of(self, flow: Flow, splits: Splits, generate: Generate | None = None) -> Evaluation:
        """Evaluate ``flow``, on samples that ``generate`` gives in place of ``flow.solve``."""
        return evaluate(
            flow,
            splits.train,
            reference=splits.test,
            nfe=self.nfe,
            sampler=self.sampler,
            samples=self.samples,
            guidance=self.guidance,
            seed=self.seed,
            generate=generate,
            **self.options,
        )


def check_measures(options: Mapping[str, Any]) -> None:
    """Check that metrics and features of ``[evaluation]`` can be had, before anything is trained.

    Raises:
        FlowpriorError: an unknown name, an impossible option, or an extra that is not installed.
    """
    select(options.get("metrics", "quick"))
    for feature in options.get("features", ()):
        as_extractor(feature)


def sampler_request(grid: Grid, sampler: str, seed: int) -> Request:
    """What is asked of a trained flow with one sampler."""
    return Request(sampler, grid.nfe, grid.samples, grid.guidance, seed, grid.evaluation)


def curve_request(grid: Grid, seed: int) -> Request:
    """What is asked of a flow on the way: fewer samples, by the first sampler."""
    first = next(iter(grid.samplers.values()))
    return Request(first, grid.curve.nfe, grid.curve.samples, grid.guidance, seed, grid.evaluation)


def judge(flow: Flow, request: Request, splits: Splits, path: Path) -> dict[str, Any]:
    """Evaluate a flow and write the samples to ``path``.

    Returns:
        The request, the name of the file and the evaluation as plain values.
    """
    recorder = Recorder(flow)
    found = request.of(flow, splits, recorder)
    recorder.save_samples(path)
    return {
        "request": asdict(request),
        "adaptive": request.adaptive,
        "samples": path.name,
        **found.as_dict(),
    }


def judge_again(flow: Flow, judged: dict[str, Any], splits: Splits, replay: Generate) -> dict[str, Any]:
    """What :func:`judge` returned, with the figures computed once more from the samples that were kept.

    Args:
        flow: gives what is not of its samples.
        judged: what :func:`judge` returned.
        splits: of the data.
        replay: gives the samples of the file, such as :class:`~flowprior.study.recording.Replay`.

    Raises:
        CheckpointError: the file is of other samples.
    """
    asked = dict(judged["request"])
    request = Request(**{**asked, "nfe": tuple(asked["nfe"])})
    if not judged["adaptive"]:
        request = replace(request, nfe=tuple(row["nfe"] for row in judged["rows"]))
    found = request.of(flow, splits, replay)
    return {**judged, **found.as_dict(), "notes": judged["notes"]}
