"""Latents on disk: ``.npy`` arrays of which only the rows of a batch are in memory."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.base import DATA, Data, Split
from flowprior.data.folder import own_split
from flowprior.data.latent_files import LatentFiles, latent_files
from flowprior.data.npy_rows import MappedRows
from flowprior.data.splits import check_split, split_indices
from flowprior.errors import InputError
from flowprior.storage.user_paths import existing_path


class LatentRows(Data):
    """Rows ``[*event]`` of memory-mapped arrays, as float32 whatever they are stored as.

    Labels are held, eight bytes a row; embeddings are mapped as the events are.

    Args:
        files: arrays of events and their conditions.
        rows: which rows of all of them, int64 ``[N]``.
        classes: number of classes where the condition is a label, else 0.
        name: for messages and tables.
    """

    def __init__(self, files: LatentFiles, rows: Tensor, classes: int, name: str) -> None:
        self.name, self.files, self._rows = name, files, rows
        self.labels = None if files.labels is None else files.labels[rows]
        self.event_shape = torch.Size(files.events.arrays[0].shape[1:])
        if self.labels is not None:
            self.condition = Condition("labels", classes)
        elif files.embeddings is not None:
            self.condition = Condition("embeddings", files.embeddings.arrays[0].shape[1])
        else:
            self.condition = Condition()

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Events ``[B, *event]`` and conditions of these rows.

        Raises:
            InputError: a row holds NaN or infinite numbers.
        """
        return self._finite(self.files.events, indices, "it"), self.conditions(indices)

    def conditions(self, indices: Tensor) -> Tensor | None:
        """Labels ``[B]`` or embeddings ``[B, E]``; no event is read."""
        if self.files.embeddings is None:
            return None if self.labels is None else self.labels[indices]
        return self._finite(self.files.embeddings, indices, "its embedding")

    def _finite(self, stored: MappedRows, indices: Tensor, what: str) -> Tensor:
        """Rows ``[B, …]`` of events or embeddings."""
        rows = self._rows[indices]
        found = stored.gather(rows)
        bad = ~torch.isfinite(found).flatten(1).all(1)
        if bool(bad.any()):
            part, row = self.files.events.place(rows[bad][:1])
            raise InputError(
                f"{self.files.paths[int(part)]}, row {int(row)}: {what} holds NaN or infinite numbers; "
                "repair or remove it"
            )
        return found

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
    known = files.labels if own is None else latent_files(root / "train", labels).labels
    rows = torch.arange(len(files))
    if own is None:
        rows = split_indices(len(files), split, test_fraction=test_fraction, seed=seed, labels=files.labels)
    classes = 0 if known is None else int(known.max()) + 1
    if files.labels is not None and int(files.labels.max()) >= classes:
        raise InputError(
            f"{own}: expected labels 0..{classes - 1} as in {root / 'train'}, got {int(files.labels.max())}"
        )
    return LatentRows(files, rows, classes, str(root))
