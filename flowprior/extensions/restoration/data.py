"""Pictures to be restored: each picture of a data set under the condition of what is left of it.

The condition is a picture, not a label: a low-resolution one, or one of which a rectangle is hidden. What was
observed can be computed of any picture, so that a restoration can be held against its condition
(:class:`flowprior.metrics.restorations.Consistency`).
"""

from __future__ import annotations

import abc
import inspect
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from flowprior.conditions import Condition, Parts, labels_in
from flowprior.data.base import DATA, Split, load_data
from flowprior.data.splits import check_seed
from flowprior.errors import InputError, OptionError
from flowprior.registry import check_counts, check_numbers, choose
from flowprior.streams.data import Data, Observation

PICTURE, LABEL = "picture", "label"
"""Names of the parts of the condition, where it has the label beside the picture."""


class Restoration(Data):
    """The pictures of ``data`` under the condition of what an observation leaves of them.

    Args:
        data: pictures [C, H, W].
        task: gives the condition.
        with_label: whether the condition is a mapping of the ``picture`` and the ``label``.

    Raises:
        InputError: events that are no pictures, or no labels where they are wanted.
    """

    def __init__(self, data: Data, task: Degradation, *, with_label: bool = False) -> None:
        for attribute in inspect.get_annotations(Data):
            setattr(self, attribute, getattr(data, attribute))
        self.data, self.task = data, task
        self.name = f"{task.name} of {data.name}"
        self.spec = None
        self.observation = task
        self.with_label = with_label
        # What the other condition was made of does not describe this one.
        self.text_encoder = self.text_encoder_identity = self.captions = self.caption_ids = None
        self.condition_counts = None
        self.groups = data.look_alikes if data.groups is None else data.groups
        picture = Condition.of_shape(task.shape(data.event_shape))
        if not with_label:
            self.condition = picture
            self.class_names = None
        elif data.condition.kind == "labels":
            self.condition = Condition("parts", parts=((LABEL, data.condition), (PICTURE, picture)))
            self.label_names = None if data.class_names is None else {LABEL: data.class_names}
            self.class_names = None
        else:
            raise InputError(
                f"restoration: with_label=true needs labels, but the condition of '{data.name}' is "
                f"{data.condition.describe()}; leave it out, or choose labels, as in of=emoji:condition=style"
            )

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | Parts]:
        """The pictures ``[B, C, H, W]`` and what is left of them, ``[B, c, h, w]``."""
        x, cond = self.data.batch(indices)
        left = self.task.observe(x, indices)
        if not self.with_label:
            return x, left
        labels = labels_in(cond)
        assert labels is not None
        return x, Parts({LABEL: labels, PICTURE: left})

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Those of the pictures' own captions, which a restoration is to fit as the picture does."""
        return self.data.caption_embeddings(indices)

    def scorer_split(self) -> Data | None:
        """That of the pictures, for an image-text score."""
        return self.data.scorer_split()

    def fingerprint(self) -> str:
        return self.data.fingerprint()


class Degradation(Observation, abc.ABC):
    """The degradation of a picture."""

    name: ClassVar[str]

    @abc.abstractmethod
    def shape(self, event_shape: torch.Size) -> tuple[int, int, int]:
        """(c, h, w) of what is left of pictures of this shape.

        Raises:
            InputError: events that it does not serve.
        """

    @abc.abstractmethod
    def observe(self, x: Tensor, indices: Tensor) -> Tensor:
        """Return the degraded pictures ``[B, c, h, w]`` of x ``[B, C, H, W]``, at ``indices`` of the data."""


class LowResolution(Degradation):
    """Means over squares of ``factor`` × ``factor`` pixels.

    Args:
        factor: of the resolution.
    """

    name = "super-resolution"

    def __init__(self, factor: int) -> None:
        check_counts("restoration", factor=factor)
        self.factor = factor

    def shape(self, event_shape: torch.Size) -> tuple[int, int, int]:
        channels, height, width = _picture(event_shape)
        if height % self.factor or width % self.factor:
            raise OptionError(
                f"restoration: factor={self.factor} does not divide {height} x {width} pixels; choose one "
                "that does"
            )
        return channels, height // self.factor, width // self.factor

    def observe(self, x: Tensor, indices: Tensor) -> Tensor:
        return functional.avg_pool2d(x, self.factor)

    def of(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        return functional.avg_pool2d(x, self.factor), cond


class HiddenRectangle(Degradation):
    """A picture with a rectangle of zeros, and a channel that is 1 where it is known and −1 where it is not.

    Where the rectangle lies follows from the seed and the place of the picture in the data set, so that a
    picture is always asked for the same.

    Args:
        share: of the height and of the width that is hidden.
        seed: of the places.
    """

    name = "inpainting"

    def __init__(self, share: float, seed: int) -> None:
        check_numbers("restoration", hidden=(share, 0, 1))
        check_seed("restoration", seed)
        self.share, self.seed = share, seed

    def shape(self, event_shape: torch.Size) -> tuple[int, int, int]:
        channels, height, width = _picture(event_shape)
        return channels + 1, height, width

    def observe(self, x: Tensor, indices: Tensor) -> Tensor:
        known = self._known(indices, *x.shape[2:]).to(x)
        return torch.cat([x * known, 2 * known - 1], 1)

    def of(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        known = (cond[:, -1:] > 0).to(x)
        return x * known, cond[:, :-1] * known

    def _known(self, indices: Tensor, height: int, width: int) -> Tensor:
        """1 where a picture ``[B, 1, H, W]`` is known."""
        sides = [max(1, round(self.share * side)) for side in (height, width)]
        chance = _uniform(indices, self.seed)
        hidden = []
        for axis, (side, whole) in enumerate(zip(sides, (height, width), strict=True)):
            first = (chance[axis] * (whole - side + 1)).long()[:, None]
            place = torch.arange(whole)
            hidden.append((place >= first) & (place < first + side))
        return ~(hidden[0][:, None, :, None] & hidden[1][:, None, None, :])


def _picture(event_shape: torch.Size) -> torch.Size:
    if len(event_shape) != 3:
        raise InputError(f"restoration: expected pictures [C, H, W], got events {list(event_shape)}")
    return event_shape


def _uniform(indices: Tensor, seed: int) -> Tensor:
    """Two numbers in [0, 1) for each index, float64 ``[2, B]``, whatever the other indices are."""
    drawn = [torch.Generator().manual_seed(seed + int(index) * 1_000_003) for index in indices]
    found = [torch.rand(2, generator=generator, dtype=torch.float64) for generator in drawn]
    return torch.stack(found, 1) if found else torch.empty(2, 0, dtype=torch.float64)


TASKS = (LowResolution.name, HiddenRectangle.name)


@DATA.register("restoration")
def restoration(
    split: Split = "train",
    of: str = "fashion-mnist",
    task: str = LowResolution.name,
    factor: int = 4,
    hidden: float = 0.5,
    with_label: bool = False,
    seed: int = 0,
) -> Restoration:
    """Pictures of another data set to be restored from a low-resolution or a partly hidden one.

    Args:
        split: ``"train"`` or ``"test"``, those of the other data set.
        of: its name or path.
        task: ``"super-resolution"`` by ``factor``, or ``"inpainting"`` of a rectangle.
        factor: of the resolution, such as 4 for 28 × 28 from 7 × 7 pixels.
        hidden: share of the height and of the width that the rectangle has.
        with_label: the condition is a mapping of ``picture`` and ``label``, where there are labels.
        seed: of the places of the rectangles.

    Raises:
        InputError: data that are no pictures, or have no labels where they are wanted.
        OptionError: impossible options.
    """
    choose("restoration", "task", task, TASKS)
    observed = LowResolution(factor) if task == LowResolution.name else HiddenRectangle(hidden, seed)
    return Restoration(load_data(of, split), observed, with_label=with_label)
