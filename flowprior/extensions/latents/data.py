"""The data of a flow in latents: the latents of images, encoded once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data
from flowprior.errors import InputError
from flowprior.extensions.latents.cache import Notify, Source, cached_latents
from flowprior.models import LatentEncoder
from flowprior.models.encoders import EncodedData
from flowprior.progress.stages import Stage, stage
from flowprior.storage.user_paths import expanded

MOST_AT_ONCE = 1024
"""The largest number of images that are encoded at once."""
NUMBERS_AT_ONCE = 1 << 22
"""The largest number of pixels, in all channels, that are encoded at once: 16 MiB of float32."""
OWN = {"event_shape", "is_image"}
"""The attributes in which data in latents differ from their images."""


class EncodedImages(EncodedData):
    """The latents of a data set's images, with its conditions.

    They are encoded when they are first asked for, or by :meth:`prepare`, in blocks of a fixed size: what
    comes from the cache is what would come from memory, bit for bit.

    Args:
        images: [C, H, W] in [-1, 1].
        encoder: gives the latents; on the device where it is to run.
        folder: of the cache: absent, empty, or one of the same data and weights; None keeps them in memory.

    Raises:
        InputError: data that are no images, or none that the encoder takes.
        OptionError: an encoder without weights.
    """

    def __init__(self, images: Data, encoder: LatentEncoder, folder: Path | str | None = None) -> None:
        if not images.is_image or len(images) == 0:
            raise InputError(
                f"encoder '{encoder.kind}': expected images, '{images.name}' has {len(images)} events "
                f"{list(images.event_shape)}; leave the encoder out"
            )
        self.images, self.encoder = images, encoder
        self.folder = None if folder is None else expanded(folder)
        for attribute in inspect.get_annotations(Data).keys() - OWN:
            setattr(self, attribute, getattr(images, attribute))
        self.event_shape = encoder.latent_shape(images.event_shape)
        self.block = max(1, min(MOST_AT_ONCE, NUMBERS_AT_ONCE // images.event_shape.numel()))
        self._latents: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def prepare(self, notify: Notify | None = None) -> Self:
        """Encode all images, or open the cache of their latents; ``notify`` gets a line on them."""
        if self._latents is None:
            with stage(f"read and encode {self.name}", len(self)) as encoding:
                self._latents = self._all_latents(self._blocks(encoding), notify)
        return self

    def _all_latents(self, blocks: Iterator[np.ndarray], notify: Notify | None) -> np.ndarray:
        digest = "" if self.folder is None else self.images.fingerprint()
        shape = [len(self), *self.event_shape]
        source = Source(self.name, digest, self.encoder.identity(), shape, self.block)
        if self.folder is not None:
            return cached_latents(self.folder, source, blocks, notify)
        if notify is not None:
            notify(f"encoding {source.describe()} in memory")
        return np.concatenate(list(blocks))

    def _blocks(self, encoding: Stage) -> Iterator[np.ndarray]:
        """Yield the latents of one block of images after the other, float32 ``[B, c, h, w]``."""
        for indices in torch.arange(len(self)).split(self.block):
            yield self._encode(indices)
            encoding.update(int(indices[-1]) + 1)

    @torch.no_grad()
    def _encode(self, indices: Tensor) -> np.ndarray:
        x, _ = self.images.batch(indices)
        z = self.encoder.encode(x.to(self.encoder.device)).float().cpu()
        if not bool(torch.isfinite(z).all()):
            raise InputError(
                f"encoder '{self.encoder.kind}': the latents of images {indices[0]} to {indices[-1]} of "
                f"'{self.name}' are not finite; use other weights"
            )
        return z.numpy()

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        """Return the latents ``[B, c, h, w]`` and the conditions of ``indices``."""
        latents = self.prepare()._latents
        assert latents is not None
        return torch.from_numpy(np.array(latents[indices.numpy()])), self.images.conditions(indices)

    def conditions(self, indices: Tensor) -> Conditions | None:
        """Return the conditions of ``indices`` without a look at the images."""
        return self.images.conditions(indices)

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        """Return the embeddings of the images' captions."""
        return self.images.caption_embeddings(indices)

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        """Return the conditions that a training step gets for the images."""
        return self.images.training_condition(indices, cond, chance)
