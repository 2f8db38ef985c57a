"""From what the page was told to the labelled pictures that it shows; knows no gradio."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flowprior.errors import OptionError
from flowprior.extensions.demo.fields import OWNER, WHOLE, Field, condition_of
from flowprior.flow import Flow
from flowprior.flow.asked import check_guidance
from flowprior.flow.showing import MOST_STATES, Stages, stages
from flowprior.pictures import point_panels, points, sample_grid
from flowprior.samplers import check_temperature

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flowprior.pictures.points import Panel

MOST_NFE = 100
MOST_SAMPLES = 16
HIGHEST_SEED = 2**31 - 1
POINTS = 256
"""Samples of a flow of points, which are drawn as a cloud."""
PANELS = 3
"""States of points on the way; each has axes of its own."""
PICTURES = {
    "prior mean": "Prior mean",
    "prior samples": "Prior samples",
    "trajectory": "Trajectory, from t = 0 to t = 1",
    "result": "Result",
}
"""Name of each picture, and what stands above it."""


@dataclass(frozen=True)
class Wanted:
    """What the page was told, checked.

    Raises:
        OptionError: a number out of range.
    """

    nfe: int = 15
    temperature: float = 1.0
    guidance: float = 1.0
    samples: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        check_temperature(OWNER, self.temperature)
        for name, least, most in (
            ("nfe", 0, MOST_NFE),
            ("samples", 1, POINTS),
            ("seed", 0, HIGHEST_SEED),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise OptionError(
                    f"{OWNER}: {name}={value!r} is not possible; choose a whole number of {least} to {most:,}"
                )


@dataclass(frozen=True)
class Answer:
    """What the page shows.

    Attributes:
        figures: by the names of :data:`flowprior.extensions.demo.PICTURES`.
        spent: in words, what it took.
        command: draws the same samples on the command line; None where parts have different captions, which
            it cannot ask for.
    """

    figures: dict[str, Figure]
    spent: str
    command: str | None


def answer(
    flow: Flow,
    run: str,
    fields: Sequence[Field],
    values: Sequence[Any],
    wanted: Wanted,
    encoder: str | None = None,
) -> Answer:
    """Draw samples and their way as pictures.

    Args:
        flow: to draw from.
        run: its folder, for the command.
        fields: of :func:`flowprior.extensions.demo.fields_of`.
        values: one for each field.
        wanted: numbers.
        encoder: text encoder, where it is not the one that the run remembers, for the command.

    Raises:
        FlowpriorError: a condition, guidance or number of evaluations that the flow cannot serve.
    """
    found = stages(
        flow,
        condition_of(fields, values, wanted.samples),
        wanted.samples,
        seed=wanted.seed,
        most=PANELS if is_cloud(flow) else MOST_STATES,
        owner=OWNER,
        nfe=wanted.nfe,
        temperature=wanted.temperature,
        guidance=wanted.guidance,
    )
    return Answer(draw_stages(found), _spent(found, flow), command_of(run, fields, values, wanted, encoder))


def is_cloud(flow: Flow) -> bool:
    """Whether its samples are points, of which many are drawn."""
    return len(flow.event_shape) == 1


def refusal_of_guidance(flow: Flow) -> str | None:
    """Why this flow cannot be guided; None where it can."""
    try:
        check_guidance(2.0, flow.condition, flow.metadata)
    except OptionError as error:
        return str(error)
    return None


def command_of(
    run: str, fields: Sequence[Field], values: Sequence[Any], wanted: Wanted, encoder: str | None = None
) -> str | None:
    """The command line that draws the same samples; None where parts have different captions.

    The arguments are those of :func:`answer`.
    """
    asked = list(zip(fields, values, strict=True))
    captions = {str(value or "").strip() for field, value in asked if field.kind == "caption"}
    if len(captions) > 1:
        return None
    words = ["flowprior", "sample", run]
    words += [word for caption in captions for word in ("--text", caption)]
    for field, value in asked:
        if field.kind == "class":
            label = int(value or 0)
            words += ["--part", f"{field.name}={label}"] if field.name != WHOLE else ["--cond", str(label)]
    words += ["--nfe", str(wanted.nfe), "--n", str(wanted.samples), "--seed", str(wanted.seed)]
    if wanted.temperature != 1:
        words += ["--temperature", f"{wanted.temperature:g}"]
    if wanted.guidance != 1:
        words += ["--guidance", f"{wanted.guidance:g}"]
    if encoder is not None:
        words += ["--encoder", encoder]
    return shlex.join([*words, "--show-prior", "--out", "sheet.png"])


def draw_stages(found: Stages) -> dict[str, Figure]:
    """One figure for each of :data:`PICTURES`: of images, or of points of the plane.

    In the rows of images, a sample stands in the same column of every picture.

    Raises:
        InputError: events that cannot be drawn.
    """
    return _images(found) if found.states.dim() == 5 else _points(found)


def times_in_words(times: list[float]) -> list[str]:
    """``t = 0.25`` for each time."""
    return [f"t = {time:.3g}" for time in times]


def _spent(found: Stages, flow: Flow) -> str:
    if not found.nfe:
        return "0 evaluations: the prior alone"
    return f"{found.nfe} evaluation{'s' * (found.nfe > 1)} of the velocity, sampler {flow.default_sampler}"


def _images(found: Stages) -> dict[str, Figure]:
    columns, names = found.states.shape[1], times_in_words(found.times)
    places = torch.arange(len(found.times)).repeat_interleave(columns)
    return {
        "prior mean": sample_grid(found.mean, columns=columns),
        "prior samples": sample_grid(found.states[0], columns=columns),
        "trajectory": sample_grid(found.states.flatten(0, 1), places, columns=columns, names=names),
        "result": sample_grid(found.states[-1], columns=columns),
    }


def _points(found: Stages) -> dict[str, Figure]:
    seen: Tensor = torch.cat([found.mean, found.states.flatten(0, 1)])
    times = times_in_words(found.times)
    panels: dict[str, Panel] = {name: (x, None) for name, x in zip(times, found.states, strict=True)}
    return {
        "prior mean": points(found.mean, frame=seen),
        "prior samples": points(found.states[0], frame=seen),
        "trajectory": point_panels(panels, frame=seen),
        "result": points(found.states[-1], frame=seen),
    }
