"""The data sets of Hugging Face's ``datasets``, memory-mapped from a folder of ``save_to_disk``.

Options name the columns of data samples, labels and captions; unnamed ones are found by the data set's
features. The extra ``datasets`` is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowprior.data.arrays import event_of_array
from flowprior.data.base import DATA, Split
from flowprior.data.captions import DEFAULT_ENCODER
from flowprior.data.folder import TEST_FOLDERS
from flowprior.data.picture_files import NamedBytes
from flowprior.data.records import UNKNOWN, Classes, ConditionedRecords, EventDecoder, RecordConditions
from flowprior.errors import InputError, OptionError, import_extra
from flowprior.registry.options import did_you_mean, is_whole
from flowprior.storage.user_paths import existing_folder
from flowprior.storage.writing import one_line

AUTO, NONE = "auto", "none"
"""The options in place of a column's name: find the column, or take none."""
EVENTS = ("image", "img", "picture", "latents", "latent", "x")
"""The names by which a column of data samples is found, the first one first."""
LABELS = ("label", "labels", "class", "cls", "y")
"""The names by which a column of labels is found, the first one first."""
TEXTS = ("text", "caption", "prompt")
"""The names by which a column of captions is found, the first one first."""


@DATA.register("huggingface", aliases=("hf",))
def huggingface(
    split: Split = "train",
    path: str | None = None,
    event: str = AUTO,
    label: str = AUTO,
    text: str = AUTO,
    source: str = NONE,
    encoder: str | None = DEFAULT_ENCODER,
    size: int | None = None,
    channels: int = 3,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> HuggingFaceData:
    """A folder that Hugging Face's save_to_disk wrote, memory-mapped (extra datasets).

    Args:
        split: ``"train"`` or ``"test"``. A ``DatasetDict`` with ``train`` and ``test`` (or ``val``,
            ``validation``) has its own splits; any other is divided by ``test_fraction``, each label
            separately, captions so that the splits share none.
        path: the folder.
        event: the column of images, or of arrays of floating-point numbers; ``"auto"`` takes the one of
            images, or one named ``latents`` or ``x``.
        label: the column of labels, of whole numbers or texts; ``"auto"`` takes the one of classes, or one
            named ``label``; ``"none"`` takes none.
        text: the column of captions, in place of labels; ``"auto"`` takes one named ``text`` or ``caption``
            if there are no labels.
        source: the column of source samples, for the coupling ``given``; it has to be like that of events.
        encoder: the text encoder of captions; None leaves the data without a condition.
        size: the side of every image; see :class:`FolderData`. None expects the first one's size of all.
        channels: the channels of images, 1 or 3.
        test_fraction: the fraction of rows in the test split, in [0, 1); 0 puts all into both splits.
        seed: the seed of the split.

    Raises:
        DataNotFoundError: no such folder, or ``datasets`` is not installed.
        InputError: damaged files, or rows without a known label.
        OptionError: impossible options, or no such column.
    """
    folder = existing_folder(path, "huggingface", "save_to_disk")
    dataset, training = saved_splits(folder, split)
    name = str(folder)
    columns = choose_columns(dataset, event, label, text, source, name)
    conditions = read_conditions(dataset, training, columns, name)
    unknown = [] if conditions.labels is None else (conditions.labels == UNKNOWN).nonzero().flatten().tolist()
    if unknown:
        raise InputError(
            f"{name}, row {unknown[0]}: it has no known label, as {len(unknown):,} of {len(dataset):,} rows; "
            "remove them, or choose another column as label="
        )
    own = None if training is not None else split
    rows = conditions.rows(len(dataset), own, name, test_fraction=test_fraction, seed=seed)
    decoder = EventDecoder(columns.is_image, size, channels)
    return HuggingFaceData(dataset, columns, rows, conditions, decoder, encoder, name)


class HuggingFaceData(ConditionedRecords):
    """The rows of a ``datasets.Dataset``, of which only those of a batch are decoded.

    Args:
        dataset: a map-style data set of memory-mapped Arrow files.
        columns: the columns that are read.
        rows: the numbers of the rows to take, int64 ``[N]``.
        conditions: the labels or captions of all rows.
        decoder: the decoder of images.
        encoder: the text encoder of captions; None leaves captioned rows without a condition.
        name: the name for messages and tables.

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
        name: str,
    ) -> None:
        import datasets

        super().__init__(name, rows, conditions, encoder)
        self.dataset, self.columns, self.decoder = dataset, columns, decoder
        self.is_image = decoder.is_image
        self._known_shape: torch.Size | None = None  # until the first event has been read
        self.licences = [dataset.info.license] if dataset.info.license else []
        read = [column for column in (columns.event, columns.source) if column is not None]
        self._events = dataset.with_format(None).select_columns(read)
        if columns.is_image:  # as their bytes
            for column in read:
                self._events = self._events.cast_column(column, datasets.Image(decode=False))
        else:
            self._events = self._events.with_format("numpy")
        self._known_shape = self.event_shape = self._read(torch.zeros(1, dtype=torch.long)).shape[1:]

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the data samples ``[B, *event]`` and conditions of these indices.

        Raises:
            InputError: a row that cannot be read, has another shape than the first, or is not finite.
        """
        return self._read(indices), self.conditions(indices)

    def sources(self, indices: Tensor) -> Tensor | None:
        column = self.columns.source
        return None if column is None else self._read(indices, column)

    def _read(self, indices: Tensor, column: str = "") -> Tensor:
        """Return the values ``[B, *event]`` of a column, by default that of the events."""
        rows = self.rows[indices].tolist()
        try:
            values = self._events[rows][column or self.columns.event]
        except (OSError, ValueError) as error:  # those of Arrow are among them
            raise InputError(f"{self.name}: cannot be read ({one_line(error)}); write it again") from error
        read = [
            self._event(value, f"{self.name}, row {row}") for value, row in zip(values, rows, strict=True)
        ]
        return torch.stack(read) if read else torch.empty(0, *self.event_shape)

    def _event(self, value: Any, name: str) -> Tensor:
        if self.columns.is_image:
            return self.decoder(NamedBytes(_picture_bytes(value, name), name), self._known_shape)
        event = event_of_array(np.asarray(value), self._known_shape, name)
        if not bool(torch.isfinite(event).all()):
            raise InputError(f"{name}: it holds NaN or infinite numbers; repair or remove it")
        return event

    def fingerprint(self) -> str:
        """Return the sha256 over the fingerprint of ``datasets``, the rows and the shape of data samples."""
        known = f"{self.dataset._fingerprint} {self.columns}{list(self.event_shape)} {self.decoder.sides}"
        return hashlib.sha256(known.encode() + self.rows.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read.

    Attributes:
        event: the column of data samples.
        label: the column of labels, or None.
        text: the column of captions, or None.
        source: the column of source samples, or None.
        is_image: True for images, False for arrays of floating-point numbers.
    """

    event: str
    label: str | None
    text: str | None
    source: str | None
    is_image: bool


def choose_columns(dataset: Any, event: str, label: str, text: str, source: str, owner: str) -> Columns:
    """Return the columns that options name; those of ``"auto"`` are found by the data set's features.

    Raises:
        OptionError: no such column, or both labels and captions.
        InputError: no column of data samples is found.
    """
    if not {label, text} & {AUTO, NONE}:
        raise OptionError(
            f"huggingface: label={label} and text={text} exclude each other; set one of them to {NONE}"
        )
    features = dataset.features
    for option, column in (("event", event), ("label", label), ("text", text), ("source", source)):
        left_out = column in {"event": (AUTO,), "source": (NONE,)}.get(option, (AUTO, NONE))
        if column not in features and not left_out:
            raise OptionError(
                f"{owner}: no column {option}={column}{did_you_mean(column, list(features))} "
                f"known: {', '.join(features)}"
            )
    if event == AUTO:
        event = _found(features, "Image", EVENTS)
    if event == NONE:
        raise InputError(
            f"{owner}: expected a column of images or arrays, got {', '.join(features)}; name it as event="
        )
    if label == AUTO:
        label = _found(features, "ClassLabel", LABELS) if text in (AUTO, NONE) else NONE
    if text == AUTO:
        text = _found(features, "", TEXTS) if label == NONE else NONE
    named = (None if column == NONE else column for column in (label, text, source))
    return Columns(event, *named, is_image=_kind(features[event]) == "Image")


def read_conditions(dataset: Any, training: Any | None, columns: Columns, owner: str) -> RecordConditions:
    """Read the labels or captions of all rows.

    Args:
        dataset: the data set.
        training: the training split, whose labels are the classes; None takes those of ``dataset``.
        columns: the columns that are read.
        owner: the name of the data set, for messages.

    Raises:
        InputError: a column of other values than whole numbers and texts.
    """
    if columns.text is not None:
        return RecordConditions(texts=_texts(dataset, columns.text, owner))
    if columns.label is None:
        return RecordConditions()
    feature, texts = dataset.features[columns.label], _texts(dataset, columns.label, owner)
    if _kind(feature) == "ClassLabel":
        labels = Classes(feature.num_classes).labels(texts)
        return RecordConditions(labels, Classes(feature.num_classes, list(feature.names)))
    known = texts if training is None else _texts(training, columns.label, owner)
    classes = Classes.of(known, owner)
    return RecordConditions(classes.labels(texts), classes)


def saved_splits(folder: Path, split: Split) -> tuple[Any, Any | None]:
    """Load the data set of ``split``, and the training split if the folder has its own splits, else None.

    Raises:
        DataNotFoundError: ``datasets`` is not installed.
        InputError: the contents of another folder, or damaged files.
    """
    datasets = import_extra("datasets", "datasets", "huggingface: reading what save_to_disk wrote")
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:  # datasets and pyarrow raise a dozen kinds for damaged files
        raise InputError(
            f"{folder}: cannot be read as a Hugging Face data set ({one_line(error)}); write it with "
            "Dataset.save_to_disk"
        ) from error
    if not isinstance(saved, Mapping):
        return saved, None
    test = next((saved[name] for name in TEST_FOLDERS if name in saved), None)
    if "train" in saved and test is not None:
        return (saved["train"] if split == "train" else test), saved["train"]
    if len(saved) == 1 or "train" in saved:
        return saved.get("train", next(iter(saved.values()))), None
    raise InputError(
        f"{folder}: expected a split named train, got {', '.join(map(str, saved)) or 'none'}; give the "
        "folder of one split"
    )


def _picture_bytes(value: Any, name: str) -> bytes:
    """Return the bytes of an image in the data set, or in a file that the data set names."""
    held = value if isinstance(value, dict) else {}
    if held.get("bytes") is not None:
        return held["bytes"]
    if not held.get("path"):
        raise InputError(f"{name}: it has no image; remove it")
    try:
        return Path(held["path"]).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: its image {held['path']} cannot be read ({one_line(error)}); put the file there"
        ) from error


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _found(features: Mapping[str, Any], kind: str, names: tuple[str, ...]) -> str:
    """Return the only column of a kind, else the first of ``names`` that is there, else ``"none"``."""
    of_kind = [name for name, feature in features.items() if _kind(feature) == kind]
    return of_kind[0] if len(of_kind) == 1 else next((name for name in names if name in features), NONE)


def _texts(dataset: Any, column: str, owner: str) -> list[str]:
    """Return the texts and whole numbers of a column as texts; a missing value is an empty text."""
    values = dataset.with_format("arrow", columns=[column])[:].column(column).to_pylist()
    wrong = [value for value in values if not (value is None or isinstance(value, str) or is_whole(value))]
    if wrong:
        raise InputError(
            f"{owner}: expected whole numbers or texts in column {column}, got {type(wrong[0]).__name__}; "
            "name another column as label= or text="
        )
    return ["" if value is None else str(value).strip() for value in values]
