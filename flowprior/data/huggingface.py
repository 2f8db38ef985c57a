"""Data sets of Hugging Face's ``datasets``, memory-mapped from a folder; extra ``datasets``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.data.base import DATA, Split
from flowprior.data.captions import DEFAULT_ENCODER
from flowprior.data.corrupt import MOST_CORRUPT, CorruptRecords
from flowprior.data.folder import check_shape
from flowprior.data.hf_columns import AUTO, Columns, choose_columns, read_conditions
from flowprior.data.hf_folder import saved_splits
from flowprior.data.npy_rows import as_float32, check_floating
from flowprior.data.picture_files import NamedBytes
from flowprior.data.records import UNKNOWN, ConditionedRecords, EventDecoder, RecordConditions
from flowprior.data.splits import check_split
from flowprior.errors import InputError
from flowprior.storage.user_paths import existing_folder
from flowprior.storage.writing import one_line


class HuggingFaceData(ConditionedRecords):
    """Rows of a ``datasets.Dataset``; pictures are decoded when a batch asks for them.

    Args:
        dataset: map-style, of Arrow files that are memory-mapped.
        columns: which columns are read.
        rows: which rows, int64 ``[N]``.
        conditions: labels or captions of all rows.
        decoder: of pictures, whatever the features of the data set say.
        encoder: of captions; None leaves captioned rows without a condition.
        corrupt: counts rows without a known label.
        name: for messages and tables.

    Raises:
        InputError: the first row cannot be read.
        OptionError: no encoder of that name, or one whose package or weights are missing.
    """

    def __init__(
        self,
        dataset: Any,
        columns: Columns,
        rows: Tensor,
        conditions: RecordConditions,
        decoder: EventDecoder,
        encoder: str | None,
        corrupt: CorruptRecords,
        name: str,
    ) -> None:
        super().__init__(name, rows, conditions, encoder, corrupt)
        self.dataset, self.columns, self.decoder = dataset, columns, decoder
        self.is_image = decoder.is_image
        self._known_shape: torch.Size | None = None  # until the first event has been read
        self.licences = [dataset.info.license] if dataset.info.license else []
        self._events = _event_column(dataset, columns)
        self._known_shape = self.event_shape = self._read(torch.zeros(1, dtype=torch.long))[0].shape

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Events ``[B, *event]`` and the conditions of these rows.

        Raises:
            InputError: a row that cannot be read, has another shape than the first, or is not finite.
        """
        events = self._read(indices)
        x = torch.stack(events) if events else torch.empty(0, *self.event_shape)
        return x, self.conditions(indices)

    def _read(self, indices: Tensor) -> list[Tensor]:
        rows = self.rows[indices].tolist()
        try:
            values = self._events[rows][self.columns.event]
        except (OSError, ValueError) as error:  # those of Arrow are among them
            raise InputError(f"{self.name}: cannot be read ({one_line(error)}); write it again") from error
        return [
            self._event(value, f"{self.name}, row {row}") for value, row in zip(values, rows, strict=True)
        ]

    def _event(self, value: Any, name: str) -> Tensor:
        if self.columns.is_image:
            return self.decoder(NamedBytes(_picture_bytes(value, name), name), self._known_shape)
        array = np.asarray(value)
        check_floating(array.dtype, name)
        if not array.size or not array.ndim or self._known_shape not in (None, array.shape):
            expected = "an event of numbers" if self._known_shape is None else list(self._known_shape)
            raise InputError(f"{name}: expected {expected}, got {list(array.shape)}; repair or remove it")
        event = as_float32(array)
        if not bool(torch.isfinite(event).all()):
            raise InputError(f"{name}: it holds NaN or infinite numbers; repair or remove it")
        return event

    def fingerprint(self) -> str:
        """sha256 over the fingerprint that ``datasets`` keeps, the rows and the shape of events."""
        digest = hashlib.sha256(f"{self.dataset._fingerprint} {self.columns}".encode())
        digest.update(f"{list(self.event_shape)} {self.decoder.sides}".encode())
        digest.update(self.rows.numpy().tobytes())
        return digest.hexdigest()


def _event_column(dataset: Any, columns: Columns) -> Any:
    """The column of events alone, pictures as their bytes, arrays as those of numpy."""
    import datasets

    events = dataset.with_format(None).select_columns([columns.event])
    if columns.is_image:
        return events.cast_column(columns.event, datasets.Image(decode=False))
    return events.with_format("numpy")


def _picture_bytes(value: Any, name: str) -> bytes:
    """The bytes of a picture that lies in the data set, or in a file that it names."""
    held = value if isinstance(value, dict) else {}
    if held.get("bytes") is not None:
        return held["bytes"]
    if not held.get("path"):
        raise InputError(f"{name}: it has no picture; remove it")
    try:
        return Path(held["path"]).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: its picture {held['path']} cannot be read ({one_line(error)}); put it there"
        ) from error


@DATA.register("huggingface", aliases=("hf",))
def huggingface(
    split: Split = "train",
    path: str | None = None,
    event: str = AUTO,
    label: str = AUTO,
    text: str = AUTO,
    encoder: str | None = DEFAULT_ENCODER,
    size: int | None = None,
    channels: int = 3,
    max_corrupt: float = MOST_CORRUPT,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> HuggingFaceData:
    """A folder that Hugging Face's save_to_disk wrote, memory-mapped (extra datasets).

    Args:
        split: ``"train"`` or ``"test"``. A ``DatasetDict`` with ``train`` and ``test`` (or ``val``,
            ``validation``) has its own splits; any other is divided by ``test_fraction``, each label on its
            own, captions by caption.
        path: the folder.
        event: column of pictures, or of arrays of floating-point numbers; ``"auto"`` takes the one of
            pictures, or one named ``latents`` or ``x``.
        label: column of labels, of whole numbers or texts; ``"auto"`` takes the one of classes, or one named
            ``label``; ``"none"`` takes none.
        text: column of captions, in place of labels; ``"auto"`` takes one named ``text`` or ``caption`` where
            there are no labels.
        encoder: of captions; None leaves such rows without a condition.
        size: side of every picture; see :class:`FolderData`. None expects all of the first one's size.
        channels: of pictures, 1 or 3.
        max_corrupt: how many rows may lack a known label, and are left out: a number, or a share of all.
        test_fraction: share of the rows held out, in [0, 1); 0 puts all of them into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such folder, or ``datasets`` is not installed; the message says what brings it.
        InputError: damaged files, or more rows without a label than may be.
        OptionError: impossible options, or no such column.
    """
    check_split(split)
    check_shape("huggingface", size, channels)
    folder = existing_folder(path, "huggingface", "what save_to_disk wrote")
    dataset, training = saved_splits(folder, split)
    name = str(folder)
    columns = choose_columns(dataset, event, label, text, name)
    conditions = read_conditions(dataset, training, columns, name)
    corrupt = CorruptRecords(name, len(dataset), max_corrupt)
    if conditions.labels is not None:
        unknown = (conditions.labels == UNKNOWN).nonzero().flatten().tolist()
        corrupt.add({f"row {row}": "it has no known label" for row in unknown})
    divided = {"divided": training is None, "test_fraction": test_fraction, "seed": seed}
    rows = conditions.rows(len(dataset), split, name, **divided)
    decoder = EventDecoder(columns.is_image, size, channels)
    return HuggingFaceData(dataset, columns, rows, conditions, decoder, encoder, corrupt, name)
