"""The data of image restoration: the images of a data set, each with its degraded image as condition.

The degraded image has a low resolution, or a hidden rectangle. It can be computed from any image, so that a
restored image can be compared with its condition
(:class:`flowprior.extensions.restoration.metrics.Consistency`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from flowprior.conditions import Condition, Parts
from flowprior.conditions.rows import labels_in
from flowprior.data.base import DATA, Split, load_data
from flowprior.errors import InputError, OptionError
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers, choose
from flowprior.streams.data import Data, DerivedData, Observation

PICTURE, LABEL = "picture", "label"
"""The names of the parts of a condition of degraded image and label."""


class Restoration(DerivedData):
    """The images of ``data``, with their degraded observations as conditions.

    Args:
        data: images [C, H, W].
        task: gives the condition.
        with_label: True for a condition that is a mapping of ``picture`` and ``label``.

    Raises:
        InputError: events that are no images, or no labels where they are wanted.
    """

    def __init__(
        self, data: Data, task: LowResolution | HiddenRectangle, *, with_label: bool = False
    ) -> None:
        super().__init__(data)
        if len(data.event_shape) != 3:
            raise InputError(f"restoration: expected images [C, H, W], got events {list(data.event_shape)}")
        self.name = f"{task.name} of {data.name}"
        self.observation = self.task = task
        self.with_label = with_label
        # What the other condition was made of does not describe this one.
        self.text_encoder = self.text_encoder_identity = self.captions = None
        self.condition_counts = None
        self.groups = data.look_alikes if data.groups is None else data.groups
        self.class_names = None
        self.condition = image = Condition.of_shape(task.shape(*data.event_shape))
        if with_label and data.condition.kind == "labels":
            self.condition = Condition("parts", parts=((LABEL, data.condition), (PICTURE, image)))
            self.label_names = None if data.class_names is None else {LABEL: data.class_names}
        elif with_label:
            raise InputError(
                f"restoration: with_label=true needs labels, but the condition of '{data.name}' is "
                f"{data.condition.describe()}; leave it out, or choose labels, as in of=emoji:condition=style"
            )

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | Parts]:
        """Return images ``[B, C, H, W]`` and their observations ``[B, c, h, w]``."""
        x, cond = self.data.batch(indices)
        left = self.task.observe(x, indices)
        if not self.with_label:
            return x, left
        labels = labels_in(cond)
        assert labels is not None
        return x, Parts({LABEL: labels, PICTURE: left})

    def fingerprint(self) -> str:
        return self.data.fingerprint()


class LowResolution(Observation):
    """The observation of low resolution: means over squares of ``factor`` × ``factor`` pixels.

    Args:
        factor: the factor of the resolution.
    """

    name = "super-resolution"

    def __init__(self, factor: int) -> None:
        check_counts("restoration", factor=factor)
        self.factor = factor

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape (c, h, w) of observations of such images."""
        if height % self.factor or width % self.factor:
            raise OptionError(
                f"restoration: factor={self.factor} does not divide {height} x {width} pixels; choose one "
                "that does"
            )
        return channels, height // self.factor, width // self.factor

    def observe(self, x: Tensor, indices: Tensor) -> Tensor:
        """Return the observations of images x ``[B, C, H, W]`` at ``indices`` of the data."""
        return functional.avg_pool2d(x, self.factor)

    def of(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        return functional.avg_pool2d(x, self.factor), cond


class HiddenRectangle(Observation):
    """The observation with a hidden rectangle of zeros, and a channel of 1 for known, −1 for hidden pixels.

    Where the rectangle lies follows from the seed and the place of the image in the data set, so that a
    image is always asked for the same.

    Args:
        share: the share of height and width that is hidden.
        seed: the seed of the places.
    """

    name = "inpainting"

    def __init__(self, share: float, seed: int) -> None:
        check_numbers("restoration", hidden=(share, 0, 1))
        self.share, self.seed = share, seed

    def shape(self, channels: int, height: int, width: int) -> tuple[int, int, int]:
        """Return the shape (c, h, w) of observations of such images."""
        return channels + 1, height, width

    def observe(self, x: Tensor, indices: Tensor) -> Tensor:
        """Return the observations of images x ``[B, C, H, W]`` at ``indices`` of the data."""
        height, width = x.shape[2:]
        tall, wide = (max(1, round(self.share * side)) for side in (height, width))
        known = x.new_ones(len(indices), 1, height, width)
        for row, index in enumerate(indices.tolist()):
            generator = torch.Generator().manual_seed(self.seed + index * 1_000_003)
            down, right = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
            top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
            known[row, :, top : top + tall, left : left + wide] = 0
        return torch.cat([x * known, 2 * known - 1], 1)

    def of(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor]:
        known = (cond[:, -1:] > 0).to(x)
        return x * known, cond[:, :-1] * known


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
    """Images of another data set, to be restored from a low resolution or from a visible part.

    Args:
        split: ``"train"`` or ``"test"``, those of the other data set.
        of: its name or path.
        task: ``"super-resolution"`` by ``factor``, or ``"inpainting"`` of a rectangle.
        factor: the factor of the resolution, such as 4 for 28 × 28 from 7 × 7 pixels.
        hidden: share of the height and of the width that the rectangle has.
        with_label: the condition is a mapping of ``picture`` and ``label``, where there are labels.
        seed: the seed of the places of the rectangles.

    Raises:
        InputError: data that are no images, or have no labels where they are wanted.
        OptionError: impossible options.
    """
    choose("restoration", "task", task, (LowResolution.name, HiddenRectangle.name))
    observed = LowResolution(factor) if task == LowResolution.name else HiddenRectangle(hidden, seed)
    return Restoration(load_data(of, split), observed, with_label=with_label)
