"""The data sets of image folders, decoded batch by batch: a sub-folder for each class, or pairs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.arrays import stamps_digest
from flowprior.data.base import DATA, Split
from flowprior.data.picture_files import SUFFIXES, event_size, read_each, read_event
from flowprior.data.splits import split_indices
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.user_paths import existing_folder
from flowprior.streams.data import Data, DerivedData

TEST_FOLDERS = ("test", "val", "validation")
"""The names that the folder of a test split may have."""
INPUTS, TARGETS = "inputs", "targets"
"""The folders of the conditions and of the data samples, in a folder of pairs."""


@DATA.register("folder")
def folder(
    split: Split = "train",
    path: str | None = None,
    size: int | None = None,
    channels: int = 3,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> FolderData:
    """Images in a folder, [channels, size, size] in [-1, 1]; one sub-folder a class, or all in one.

    Args:
        split: ``"train"`` or ``"test"``. A folder with sub-folders ``train`` and ``test`` (or ``val``,
            ``validation``) has its own splits; any other is divided by ``test_fraction``, each class
            separately.
        path: the folder. Images directly in it have no condition; otherwise every sub-folder with images
            anywhere below it is a class of its name, in alphabetical order.
        size: the side of every image, at most 2048; see :class:`FolderData`.
        channels: 1 or 3.
        test_fraction: the fraction of images in the test split, in [0, 1); 0 puts all into both splits.
        seed: the seed of the split.

    Raises:
        DataNotFoundError: no such folder, or no images in it.
        InputError: images both in the folder and in sub-folders, or a file that cannot be decoded.
    """
    root = existing_folder(path, "folder", "images")
    own = own_split(root, split)
    files, labels, class_names = _scan(own or root, root)
    if own is None:
        chosen = split_indices(len(files), split, test_fraction=test_fraction, seed=seed, labels=labels)
        files = [files[index] for index in chosen.tolist()]
        labels = None if labels is None else labels[chosen]
    return FolderData(files, labels, name=str(root), class_names=class_names, size=size, channels=channels)


class FolderData(Data):
    """The images of files, of which only those of a batch are in memory.

    Args:
        files: the file of each image.
        labels: int64 ``[N]``, or None for an unconditional data set.
        class_names: the name of each label.
        size: the side of every image; larger or smaller ones are scaled on their shorter side and cropped at
            the centre. None takes the size of the first image and expects it of all.
        channels: 1 (grey) or 3 (red, green, blue); transparent pixels become white.

    Raises:
        InputError: no size and a first image of more than 2048 x 2048 pixels, or one of more than 50,000,000.
    """

    is_image = True

    def __init__(
        self,
        files: list[Path],
        labels: Tensor | None = None,
        *,
        name: str = "folder",
        class_names: list[str] | None = None,
        size: int | None = None,
        channels: int = 3,
    ) -> None:
        self.files = files
        self.labels = labels
        self.name = name
        self.class_names = class_names
        self.condition = Condition("labels", len(class_names)) if class_names else Condition()
        self.scale = size is not None
        self.size = event_size(files[0]) if size is None else (size, size)
        self.channels = channels
        self.event_shape = torch.Size([channels, *self.size])

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        images = read_each([self.files[index] for index in indices.tolist()], self._decode, self.name)
        x = torch.stack(images) if images else torch.empty(0, *self.event_shape)
        return x, self.conditions(indices)

    def conditions(self, indices: Tensor) -> Tensor | None:
        return None if self.labels is None else self.labels[indices]

    def fingerprint(self) -> str:
        """Return the sha256 over shape, names, sizes and modification times of the files."""
        return stamps_digest(self.files, f"{list(self.event_shape)} {self.scale}".encode())

    def _decode(self, file: Path) -> Tensor:
        return read_event(file, self.size, self.channels, scale=self.scale)


@DATA.register("picture-pairs")
def picture_pairs(
    split: Split = "train",
    path: str | None = None,
    size: int | None = None,
    input_size: int | None = None,
    channels: int = 3,
    as_source: bool = False,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> PicturePairs:
    """Pairs of images in a folder: ``inputs/NAME.png`` is given, ``targets/NAME.png`` is to be made.

    Args:
        split: ``"train"`` or ``"test"``. A folder with sub-folders ``train`` and ``test`` (or ``val``,
            ``validation``), each with ``inputs`` and ``targets``, has its own splits; any other is divided.
        path: the folder. Names are compared without their suffixes.
        size: the side of the targets; None takes the size of the first one and expects it of all.
        input_size: the side of the inputs; likewise.
        channels: 1 or 3.
        as_source: take the inputs as source samples, for the coupling ``given``, not as conditions.
        test_fraction: the fraction of pairs in the test split, in [0, 1); 0 puts all into both splits.
        seed: the seed of the split.

    Raises:
        DataNotFoundError: no such folder, or no pairs in it.
        InputError: an input without a target, a target without an input, or an image that cannot be decoded.
    """
    root = existing_folder(path, "picture-pairs", "pairs of images")
    own = own_split(root, split)
    inputs, targets = (_pictures_by_name((own or root) / part) for part in (INPUTS, TARGETS))
    unpaired = sorted(inputs.keys() ^ targets.keys())
    if unpaired:
        has, lacks = (INPUTS, TARGETS) if unpaired[0] in inputs else (TARGETS, INPUTS)
        raise InputError(
            f"{own or root}: expected each image in both folders, '{unpaired[0]}' is in {has}/ but not in "
            f"{lacks}/ ({len(unpaired)} such); add or remove it"
        )
    names = list(targets)
    if own is None:
        chosen = split_indices(len(names), split, test_fraction=test_fraction, seed=seed)
        names = [names[index] for index in chosen.tolist()]
    made = [
        FolderData([files[name] for name in names], name=str(root), size=side, channels=channels)
        for files, side in ((targets, size), (inputs, input_size))
    ]
    return PicturePairs(*made, as_source=as_source)


class PicturePairs(DerivedData):
    """The images of files as data samples, with those of other files as their conditions or source samples.

    Args:
        targets: the data samples.
        inputs: the other images, in the same order.
        as_source: take the inputs as source samples.

    Raises:
        InputError: inputs as source samples, of another size than the targets.
    """

    def __init__(self, targets: FolderData, inputs: FolderData, *, as_source: bool = False) -> None:
        super().__init__(targets)
        self.inputs, self.as_source = inputs, as_source
        self.condition = Condition() if as_source else Condition.of_shape(inputs.event_shape)
        if as_source and inputs.event_shape != targets.event_shape:
            raise InputError(
                f"{self.name}: expected inputs {list(targets.event_shape)} like the targets, got "
                f"{list(inputs.event_shape)}; set input_size"
            )

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return targets ``[B, C, H, W]`` and, unless they are source samples, inputs ``[B, C, h, w]``."""
        return self.data.batch(indices)[0], self.conditions(indices)

    def conditions(self, indices: Tensor) -> Tensor | None:
        return None if self.as_source else self.inputs.batch(indices)[0]

    def sources(self, indices: Tensor) -> Tensor | None:
        return self.inputs.batch(indices)[0] if self.as_source else None

    def fingerprint(self) -> str:
        return f"{self.data.fingerprint()} {self.inputs.fingerprint()}"


def pictures_of(paths: Iterable[Path]) -> list[Path]:
    """Return the image files among ``paths``, by their suffixes, in alphabetical order."""
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())


def own_split(root: Path, split: Split) -> Path | None:
    """Return the sub-folder of one split if the folder has one for each split, else None."""
    test = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    if test is None or not (root / "train").is_dir():
        return None
    return root / "train" if split == "train" else test


def _scan(place: Path, root: Path) -> tuple[list[Path], Tensor | None, list[str] | None]:
    """Return the files in a fixed order, their labels, and the class names, those of the training split."""
    flat = pictures_of(place.iterdir())
    classes = {
        child.name: files for child in sorted(_subfolders(place)) if (files := pictures_of(child.rglob("*")))
    }
    if flat and classes:
        raise InputError(
            f"{place}: expected images either directly in the folder or in one sub-folder for each class, "
            f"got both ({flat[0].name} and {next(iter(classes))}/); move one of them away"
        )
    if flat:
        return flat, None, None
    if not classes:
        raise DataNotFoundError(f"folder: no images ({', '.join(sorted(SUFFIXES))}) in {place}")
    names = list(classes) if place == root else _training_classes(root, classes)
    labels = torch.tensor([names.index(name) for name, files in classes.items() for _ in files])
    return [file for files in classes.values() for file in files], labels, names


def _training_classes(root: Path, found: dict[str, list[Path]]) -> list[str]:
    names = sorted(child.name for child in _subfolders(root / "train") if pictures_of(child.rglob("*")))
    unknown = [name for name in found if name not in names]
    if unknown:
        raise InputError(f"{root}: class '{unknown[0]}' is not in {root / 'train'}; add or remove it")
    return names


def _subfolders(place: Path) -> list[Path]:
    return [child for child in place.iterdir() if child.is_dir() and not child.name.startswith(".")]


def _pictures_by_name(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their names without suffixes, in alphabetical order."""
    found = pictures_of(folder.iterdir()) if folder.is_dir() else []
    if not found:
        raise DataNotFoundError(f"picture-pairs: no images ({', '.join(sorted(SUFFIXES))}) in {folder}")
    named = {file.stem: file for file in found}
    if len(named) < len(found):
        twice = next(file.stem for file in found if named[file.stem] != file)
        raise InputError(f"{folder}: '{twice}' is there with two suffixes; remove one of them")
    return named
