"""Data sets of Hugging Face's ``datasets``, memory-mapped from a folder; extra ``datasets``.

A folder is what ``save_to_disk`` wrote. Which of its columns are events, labels and captions is said by
options, or shown by their features.
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

from flowprior.data.arrays import as_float32, check_floating
from flowprior.data.base import DATA, Split
from flowprior.data.captions import DEFAULT_ENCODER
from flowprior.data.folder import TEST_FOLDERS, check_shape
from flowprior.data.picture_files import NamedBytes
from flowprior.data.records import UNKNOWN, Classes, ConditionedRecords, EventDecoder, RecordConditions
from flowprior.data.splits import check_split
from flowprior.errors import InputError, OptionError, import_extra
from flowprior.registry import did_you_mean, is_whole
from flowprior.storage import existing_folder, one_line
from flowprior.streams.data import MOST_CORRUPT, CorruptRecords

AUTO, NONE = "auto", "none"
EVENTS = ("image", "img", "picture", "latents", "latent", "x")
LABELS = ("label", "labels", "class", "cls", "y")
TEXTS = ("text", "caption", "prompt")
"""Names that columns of each kind have, in the order in which they are looked for."""


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
    rows = conditions.rows(
        len(dataset), split, name, divided=training is None, test_fraction=test_fraction, seed=seed
    )
    decoder = EventDecoder(columns.is_image, size, channels)
    return HuggingFaceData(dataset, columns, rows, conditions, decoder, encoder, corrupt, name)


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
        import datasets

        super().__init__(name, rows, conditions, encoder, corrupt)
        self.dataset, self.columns, self.decoder = dataset, columns, decoder
        self.is_image = decoder.is_image
        self._known_shape: torch.Size | None = None  # until the first event has been read
        self.licences = [dataset.info.license] if dataset.info.license else []
        self._events = dataset.with_format(None).select_columns([columns.event])
        if columns.is_image:  # as their bytes
            self._events = self._events.cast_column(columns.event, datasets.Image(decode=False))
        else:
            self._events = self._events.with_format("numpy")
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
        known = f"{self.dataset._fingerprint} {self.columns}{list(self.event_shape)} {self.decoder.sides}"
        return hashlib.sha256(known.encode() + self.rows.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Columns:
    """Columns that are read.

    Attributes:
        event: of events.
        label: of labels, or None.
        text: of captions, or None.
        is_image: whether events are pictures; else arrays of floating-point numbers.
    """

    event: str
    label: str | None
    text: str | None
    is_image: bool


def choose_columns(dataset: Any, event: str, label: str, text: str, owner: str) -> Columns:
    """The columns that options name, ``"auto"`` replaced by what the data set's features show.

    Raises:
        OptionError: no such column, or both labels and captions.
        InputError: nothing that looks like an event.
    """
    if not {label, text} & {AUTO, NONE}:
        raise OptionError(
            f"huggingface: label={label} and text={text} exclude each other; set one of them to {NONE}"
        )
    features = dataset.features
    for option, column in (("event", event), ("label", label), ("text", text)):
        if column not in features and not (column == AUTO or (column == NONE and option != "event")):
            raise OptionError(
                f"{owner}: no column {option}={column}{did_you_mean(column, list(features))} "
                f"known: {', '.join(features)}"
            )
    pictures = [name for name, feature in features.items() if _kind(feature) == "Image"]
    if event == AUTO:
        event = _found(EVENTS, pictures or list(features)) or (pictures[0] if len(pictures) == 1 else "")
    if not event:
        raise InputError(
            f"{owner}: expected a column of events, got {', '.join(features)}; name it as event="
        )
    if label == AUTO:
        classes = [name for name, feature in features.items() if _kind(feature) == "ClassLabel"]
        likely = _found(LABELS, list(features)) or (classes[0] if len(classes) == 1 else NONE)
        label = likely if text in (AUTO, NONE) else NONE
    if text == AUTO:
        text = (_found(TEXTS, list(features)) if label == NONE else None) or NONE
    named = (None if column == NONE else column for column in (label, text))
    return Columns(event, *named, is_image=event in pictures)


def read_conditions(dataset: Any, training: Any | None, columns: Columns, owner: str) -> RecordConditions:
    """Labels or captions of all rows.

    Args:
        dataset: the data set.
        training: whose labels say which classes there are; None takes ``dataset``.
        columns: which of its columns.
        owner: for messages.

    Raises:
        InputError: a column of other values than whole numbers and texts.
    """
    if columns.text is not None:
        return RecordConditions(texts=_texts(dataset, columns.text, owner))
    if columns.label is None:
        return RecordConditions()
    feature = dataset.features[columns.label]
    if _kind(feature) == "ClassLabel":
        classes = Classes(feature.num_classes, list(feature.names))
        values = column_values(dataset, columns.label)
        known = [value if value is not None and 0 <= value < classes.count else UNKNOWN for value in values]
        return RecordConditions(torch.tensor(known, dtype=torch.long), classes)
    texts = _texts(dataset, columns.label, owner)
    known = texts if training is None else _texts(training, columns.label, owner)
    classes = Classes.of(known, owner)
    return RecordConditions(classes.labels(texts), classes)


def saved_splits(folder: Path, split: Split) -> tuple[Any, Any | None]:
    """(the data set of ``split``, that of the training split where there are own ones for both, else None).

    Raises:
        DataNotFoundError: ``datasets`` is not installed.
        InputError: no such folder's contents, or damaged ones.
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


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _found(names: tuple[str, ...], columns: list[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _texts(dataset: Any, column: str, owner: str) -> list[str]:
    """Texts and whole numbers as texts; an empty one for none."""
    values = column_values(dataset, column)
    wrong = next(
        (value for value in values if not (value is None or isinstance(value, str) or is_whole(value))), None
    )
    if wrong is not None:
        raise InputError(
            f"{owner}: expected whole numbers or texts in column {column}, got {type(wrong).__name__}; name "
            "another column as label= or text="
        )
    return ["" if value is None else str(value).strip() for value in values]


def column_values(dataset: Any, column: str) -> list[Any]:
    """All values of one column; None where a row has none."""
    return dataset.with_format("arrow", columns=[column])[:].column(column).to_pylist()
