"""The fields of the demo page and the figures that it shows for their values, without gradio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.conditions.rows import as_value, rows
from flowprior.errors import InputError
from flowprior.flow import Flow
from flowprior.flow.flow import draw, prior_means
from flowprior.flow.readers import TEXTUAL, WHOLE
from flowprior.pictures import beside, points, sample_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWNER = "demo"
MOST_CHARACTERS = 10_000
"""The largest number of characters of a caption."""
POINTS = 256
"""The number of samples of a flow of points, which are drawn as a cloud."""
PANELS = 3
"""The number of states of a trajectory of points, each in axes of its own."""
PICTURES = {
    "prior mean": "Prior mean",
    "prior samples": "Prior samples",
    "trajectory": "Trajectory, from t = 0 to t = 1",
    "result": "Result",
}
"""The name and the title of each figure."""
MOST_STATES = 6
"""The number of states of a trajectory that the page shows."""


@dataclass(frozen=True)
class Field:
    """One field of the page.

    Attributes:
        name: the name of the part of the condition; empty for a condition without parts.
        kind: a caption, or a class.
        choices: names of the classes, in the order of their labels.
    """

    name: str
    kind: Literal["caption", "class"]
    choices: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The label above the field."""
        return self.name.capitalize() or self.kind.capitalize()


def fields_of(flow: Flow) -> list[Field]:
    """Return the fields of a flow's condition; none for a flow without a condition.

    Where there is a caption, the text encoder is loaded and asked for the empty one.

    Raises:
        InputError: no text encoder, or another one than made the embeddings of the data.
        FlowpriorError: an encoder that cannot be had on this machine.
    """
    parts = {} if flow.condition.kind == "none" else flow.condition.named
    fields = [_field(flow, name, part) for name, part in parts.items()]
    if any(field.kind == "caption" for field in fields):
        flow.words.read(condition_of(fields, ["" for _ in fields], 1), 1, OWNER)
    return fields


def _field(flow: Flow, name: str, part: Condition) -> Field:
    if part.kind == "tensor":
        raise InputError(
            f"{OWNER}: a condition that is {part.describe()} cannot be entered on the page; use "
            "flowprior sample --picture"
        )
    if part.kind in TEXTUAL:
        return Field(name, "caption")
    names = flow.words.label_names(name)
    return Field(name, "class", tuple(names or map(str, range(part.size))))


def condition_of(fields: Sequence[Field], values: Sequence[Any], n: int) -> Any:
    """Return the condition that :func:`stages` takes for the values of the fields, ``n`` times.

    Args:
        fields: the fields of :func:`fields_of`.
        values: a text for each caption, a label for each class.
        n: number of samples.

    Raises:
        InputError: a caption that is too long.
    """
    asked = {field.name: _value(field, value, n) for field, value in zip(fields, values, strict=True)}
    return asked.get(WHOLE) if WHOLE in asked or not asked else asked


def _value(field: Field, value: Any, n: int) -> Any:
    if field.kind == "caption":
        text = str(value or "").strip()
        if len(text) > MOST_CHARACTERS:
            raise InputError(
                f"{OWNER}: expected a caption of at most {MOST_CHARACTERS:,} characters, got {len(text):,}; "
                "shorten it"
            )
        return text
    return torch.full((n,), int(value or 0))


@dataclass(frozen=True)
class Wanted:
    """The numbers that were entered on the page, within the bounds of its fields."""

    nfe: int = 15
    temperature: float = 1.0
    guidance: float = 1.0
    samples: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """The figures and texts that the page shows.

    Attributes:
        figures: the figures, by the names of :data:`flowprior.extensions.demo.answer.PICTURES`.
        spent: the number of evaluations and the seconds, in words.
    """

    figures: dict[str, Figure]
    spent: str


def answer(flow: Flow, fields: Sequence[Field], values: Sequence[Any], wanted: Wanted) -> Answer:
    """Draw samples and their trajectories as figures.

    Args:
        flow: the flow to sample.
        fields: the fields of :func:`flowprior.extensions.demo.answer.fields_of`.
        values: the value of each field.
        wanted: numbers.

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
    how = f" of the velocity, sampler {flow.default_sampler}" if found.nfe else ": the prior alone"
    spent = f"{found.nfe} evaluation{'s' * (found.nfe != 1)}{how}"
    return Answer(draw_stages(found), spent)


def is_cloud(flow: Flow) -> bool:
    """Return whether the samples of a flow are points, of which many are drawn."""
    return len(flow.event_shape) == 1


def draw_stages(found: Stages) -> dict[str, Figure]:
    """Return one figure for each of :data:`PICTURES`, of images or of points in the plane.

    In the rows of images, a sample stands in the same column of every picture.

    Raises:
        InputError: events that cannot be drawn.
    """
    times = [f"t = {time:.3g}" for time in found.times]
    if found.states.dim() == 5:
        columns = found.states.shape[1]
        draw = partial(sample_grid, columns=columns)
        places = torch.arange(len(times)).repeat_interleave(columns)
        trajectory = draw(found.states.flatten(0, 1), places, names=times)
    else:
        seen = torch.cat([found.mean, found.states.flatten(0, 1)])
        draw = partial(points, frame=seen)
        panels = {name: (x, None) for name, x in zip(times, found.states, strict=True)}
        trajectory = beside(panels, frame=seen)
    return {
        "prior mean": draw(found.mean),
        "prior samples": draw(found.states[0]),
        "trajectory": trajectory,
        "result": draw(found.states[-1]),
    }


@dataclass(frozen=True)
class Stages:
    """The trajectories of some samples of one condition, decoded for a flow in latents.

    Attributes:
        mean: the prior's mean, ``[1, *event]``.
        states: ``[S, n, *event]``, from the source samples to the result.
        times: the times of the states.
        nfe: evaluations of the velocity that were spent.
    """

    mean: Tensor
    states: Tensor
    times: list[float]
    nfe: int


def stages(
    flow: Flow, cond: Any, n: int, *, seed: int, most: int = MOST_STATES, owner: str, **options: Any
) -> Stages:
    """Draw ``n`` samples of one condition and keep their trajectories.

    They are those that ``flowprior sample --count n --seed seed`` draws.

    Args:
        flow: the flow to sample.
        cond: a caption, a condition of ``n`` rows, a mapping of parts of either, or None.
        n: number of samples.
        seed: the seed of the source samples and of a stochastic sampler's noise.
        most: states to keep, two or more; first and last are among them, the others lie evenly between.
        owner: named by messages.
        options: the arguments of :meth:`flowprior.Flow.solve`, such as ``nfe`` and ``guidance``.

    Raises:
        InputError: a condition that does not fit the flow.
        OptionError: an impossible option.
    """
    value = as_value(flow.words.read(cond, n, owner))
    solution = draw(flow, value, n if value is None else None, seed=seed, trajectory=True, **options)
    assert solution.trajectory is not None
    count = len(solution.trajectory)
    places = torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).round().long()
    mean = prior_means(flow, None if value is None else rows(value, slice(1)))
    return Stages(mean, solution.trajectory[places], solution.times[places].tolist(), solution.nfe)
