"""Latents on disk: ``.npy`` arrays of which only the rows of a batch are in memory."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from flowprior.conditions import Condition, Conditions
from flowprior.data.base import DATA, Split
from flowprior.data.corrupt import MOST_CORRUPT, CorruptRecords
from flowprior.data.folder import own_split
from flowprior.data.latent_files import LatentFiles, latent_files, stored_labels
from flowprior.data.records import RecordData
from flowprior.data.splits import check_split, split_indices
from flowprior.errors import InputError
from flowprior.storage.user_paths import existing_path


class LatentRows(RecordData):
    """Rows ``[*event]`` of memory-mapped arrays, as float32 whatever they are stored as.

    Labels are held, eight bytes a row; embeddings are mapped as the events are. A row with NaN or infinity,
    or an embedding with some, is a corrupt record.

    Args:
        files: arrays of events and their conditions.
        rows: which rows of all of them, int64 ``[N]``.
        classes: number of classes where the condition is a label, else 0.
        max_corrupt: number or share of the rows that may be corrupt.
        name: for messages and tables.

    Raises:
        OptionError: an impossible ``max_corrupt``.
    """

    def __init__(self, files: LatentFiles, rows: Tensor, classes: int, max_corrupt: float, name: str) -> None:
        labels = None if files.labels is None else files.labels[rows]
        super().__init__(name, len(rows), labels, CorruptRecords(name, len(rows), max_corrupt))
        self.files, self._rows = files, rows
        self.event_shape = torch.Size(files.events.arrays[0].shape[1:])
        if labels is not None:
            self.condition = Condition("labels", classes)
        elif files.embeddings is not None:
            self.condition = Condition("embeddings", files.embeddings.arrays[0].shape[1])
        else:
            self.condition = Condition()

    def read_events(self, numbers: list[int]) -> list[Tensor | InputError]:
        rows = self._rows[torch.tensor(numbers, dtype=torch.long)]
        events: list[Tensor | InputError] = list(self.files.events.gather(rows))
        if self.files.embeddings is None:
            return events
        usable = torch.isfinite(self.files.embeddings.gather(rows)).all(dim=1).tolist()
        wrong = InputError("its embedding holds NaN or infinite numbers")
        return [event if fine else wrong for event, fine in zip(events, usable, strict=True)]

    def record_name(self, number: int) -> str:
        part, row = self.files.events.place(self._rows[number][None])
        return f"{self.files.paths[int(part)].name} row {int(row)}"

    def conditions_of(self, numbers: Tensor) -> Conditions | None:
        if self.files.embeddings is None:
            return super().conditions_of(numbers)
        return self.files.embeddings.gather(self._rows[numbers])

    def fingerprint(self) -> str:
        """sha256 over names, sizes and times of change of the files, and the rows."""
        digest = hashlib.sha256(self._rows.numpy().tobytes())
        for file in self.files.paths:
            status = file.stat()
            digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()


@DATA.register("latents")
def latents(
    split: Split = "train",
    path: str | None = None,
    labels: str = "auto",
    max_corrupt: float = MOST_CORRUPT,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> LatentRows:
    """Rows of .npy arrays of floating-point numbers, memory-mapped, such as latents; of any size.

    A folder holds ``latents.npy`` (or ``x.npy``) ``[N, *event]`` in float16, bfloat16 (as ``ml_dtypes``
    stores it), float32 or float64, and beside it ``labels.npy`` (or ``cond.npy``, ``y.npy``): labels ``[N]``
    of whole numbers, or embeddings ``[N, E]``. Large sets may be in parts, ``latents-000.npy`` with
    ``labels-000.npy``.

    Args:
        split: ``"train"`` or ``"test"``. A folder with sub-folders ``train`` and ``test`` (or ``val``,
            ``validation``) has its own splits; any other is divided by ``test_fraction``, each label on its
            own.
        path: the folder, or one ``.npy`` file.
        labels: ``"auto"`` for those beside, ``"none"``, or the path of another ``.npy`` file.
        max_corrupt: how many rows may hold NaN or infinity: a number, or a share of all.
        test_fraction: share of the rows held out, in [0, 1); 0 puts all of them into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such files.
        InputError: an array that cannot be read, or of another shape or type; labels out of range.
        OptionError: impossible options.
    """
    check_split(split)
    root = existing_path(path, "latents", ".npy file, or folder of them")
    own = own_split(root, split) if root.is_dir() else None
    files = latent_files(own or root, labels)
    known = files.labels if own is None else stored_labels(root / "train", labels)
    rows = torch.arange(len(files))
    if own is None:
        rows = split_indices(len(files), split, test_fraction=test_fraction, seed=seed, labels=files.labels)
    classes = 0 if known is None else int(known.max()) + 1
    if files.labels is not None and int(files.labels.max()) >= classes:
        raise InputError(
            f"{own}: expected labels 0..{classes - 1} as in {root / 'train'}, got {int(files.labels.max())}"
        )
    return LatentRows(files, rows, classes, max_corrupt, str(root))
