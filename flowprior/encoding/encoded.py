"""Data whose events are the latents of pictures, encoded once; how well the pictures come back."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.data.base import Data
from flowprior.encoding.cache import Notify, Source, cached_latents
from flowprior.errors import InputError
from flowprior.models.encoders import LatentEncoder
from flowprior.progress import Stage, stage
from flowprior.storage.user_paths import expanded

MOST_AT_ONCE = 1024
OWN = {"event_shape", "is_image"}
"""What encoded data say of themselves; everything else is what the pictures say."""
NUMBERS_AT_ONCE = 1 << 22
"""Numbers of the pictures that are encoded at once: 16 MiB of float32."""
COMPARED_AT_ONCE = 64
RANGE = 2.0
"""Of a pixel in [-1, 1]."""


class EncodedData(Data):
    """Latents of a data set's pictures, with its conditions.

    They are encoded when they are first asked for, or by :meth:`prepare`, in blocks of a fixed size: what
    comes from the cache is what would come from memory, bit for bit.

    Args:
        data: pictures [C, H, W] in [-1, 1].
        encoder: gives the latents; on the device where it is to run.
        folder: of the cache: absent, empty, or one of the same data and weights; None keeps them in memory.

    Raises:
        InputError: data that are no pictures, or none that the encoder takes.
        OptionError: an encoder without weights.
    """

    def __init__(self, data: Data, encoder: LatentEncoder, folder: Path | str | None = None) -> None:
        if not data.is_image or len(data) == 0:
            raise InputError(
                f"encoder '{encoder.kind}': expected pictures, '{data.name}' has {len(data)} events "
                f"{list(data.event_shape)}; leave the encoder out"
            )
        self.data, self.encoder = data, encoder
        self.folder = None if folder is None else expanded(folder)
        for attribute in inspect.get_annotations(Data).keys() - OWN:
            setattr(self, attribute, getattr(data, attribute))
        self.event_shape = encoder.latent_shape(data.event_shape)
        self.block = max(1, min(MOST_AT_ONCE, NUMBERS_AT_ONCE // data.event_shape.numel()))
        self._latents: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.data)

    def prepare(self, notify: Notify | None = None) -> EncodedData:
        """Encode all pictures, or open the cache that holds them; ``notify`` is told what is made and where.

        Raises:
            CheckpointError: the cache is one of other data or weights, damaged, or cannot be written.
            OptionError: another process is encoding there.
            InputError: pictures that cannot be read, or latents that are not finite.
        """
        if self._latents is None:
            with stage(f"read and encode {self.name}", len(self)) as encoding:
                self._latents = self._all_latents(encoding, notify)
        return self

    def _all_latents(self, encoding: Stage, notify: Notify | None) -> np.ndarray:
        def encode(start: int, stop: int) -> np.ndarray:
            latents = self._encode(start, stop)
            encoding.update(stop)
            return latents

        source = self.source()
        if self.folder is not None:
            return cached_latents(self.folder, source, encode, notify)
        if notify is not None:
            notify(f"encoding {source.describe()} in memory")
        return np.concatenate([encode(*bounds) for bounds in source.bounds()])

    def source(self) -> Source:
        """What the latents are made from; reads all of the data for their digest."""
        digest = self.data.fingerprint() if self.folder is not None else ""
        shape = (len(self.data), *self.event_shape)
        return Source(self.name, digest, self.encoder.identity(), shape, self.block)

    def batch(self, indices: Tensor) -> tuple[Tensor, Conditions | None]:
        latents = self.prepare()._latents
        assert latents is not None
        return torch.from_numpy(np.array(latents[indices.numpy()])), self.data.conditions(indices)

    def conditions(self, indices: Tensor) -> Conditions | None:
        return self.data.conditions(indices)

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        return self.data.caption_embeddings(indices)

    def training_condition(
        self, indices: Tensor, cond: Conditions | None, chance: Tensor
    ) -> Conditions | None:
        return self.data.training_condition(indices, cond, chance)

    @torch.no_grad()
    def _encode(self, start: int, stop: int) -> np.ndarray:
        """Latents float32 ``[stop - start, c, h, w]`` of the pictures from ``start`` up to ``stop``."""
        x, _ = self.data.batch(torch.arange(start, stop))
        z = self.encoder.encode(x.to(self.encoder.device)).float().cpu()
        if not bool(torch.isfinite(z).all()):
            raise InputError(
                f"encoder '{self.encoder.kind}': the latents of pictures {start} to {stop - 1} of "
                f"'{self.name}' are not finite; use other weights"
            )
        return z.numpy()


@dataclass(frozen=True)
class Reconstruction:
    """Error of decode(encode(x)), clamped to [-1, 1], against x.

    Attributes:
        psnr: peak signal-to-noise ratio 10 log10(4 / mse) in dB, of all pictures together.
        mse: mean squared error of a number in [-1, 1].
        pictures: how many were compared.
    """

    psnr: float
    mse: float
    pictures: int


@torch.no_grad()
def measure_reconstruction(encoder: LatentEncoder, data: Data) -> Reconstruction:
    """Encode and decode all pictures of ``data`` and compare.

    Raises:
        InputError: no data, or events that the encoder does not take.
    """
    if len(data) == 0:
        raise InputError(f"reconstruction: expected pictures, '{data.name}' is empty")
    error, count = 0.0, 0
    device = encoder.device
    for x, _ in data.batches(COMPARED_AT_ONCE):
        x = x.to(device)
        back = encoder.decode(encoder.encode(x), data.event_shape).clamp(-1, 1)
        error += (back - x).double().square().sum().item()
        count += x.numel()
    mse = error / count
    psnr = 10 * math.log10(RANGE**2 / mse) if mse > 0 else math.inf
    return Reconstruction(psnr, mse, len(data))


def pictures_of(data: Data) -> Data:
    """The pictures behind encoded data; any other data as they are."""
    return data.data if isinstance(data, EncodedData) else data
