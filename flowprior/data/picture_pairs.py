"""A folder of pairs of pictures, such as degraded and clean photographs."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from flowprior.conditions import Condition
from flowprior.data.base import DATA, Data, Split
from flowprior.data.folder import FolderData, check_shape, own_split, pictures_of
from flowprior.data.picture_files import SUFFIXES
from flowprior.data.splits import check_split, split_indices
from flowprior.errors import DataNotFoundError, InputError
from flowprior.storage.user_paths import existing_folder

INPUTS, TARGETS = "inputs", "targets"


class PicturePairs(Data):
    """Pictures in files under the condition of other pictures in files; decoded when a batch asks for them.

    Args:
        targets: the events.
        inputs: their conditions, in the same order.
        name: for messages and tables.
    """

    is_image = True

    def __init__(self, targets: FolderData, inputs: FolderData, name: str) -> None:
        self.targets, self.inputs, self.name = targets, inputs, name
        self.event_shape = targets.event_shape
        self.condition = Condition.of_shape(inputs.event_shape)

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures ``[B, C, H, W]`` and what is given of them, ``[B, C, h, w]``, both in [-1, 1]."""
        return self.targets.batch(indices)[0], self.inputs.batch(indices)[0]

    def conditions(self, indices: Tensor) -> Tensor:
        return self.inputs.batch(indices)[0]

    def fingerprint(self) -> str:
        return f"{self.targets.fingerprint()} {self.inputs.fingerprint()}"


@DATA.register("picture-pairs")
def picture_pairs(
    split: Split = "train",
    path: str | None = None,
    size: int | None = None,
    input_size: int | None = None,
    channels: int = 3,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> PicturePairs:
    """Pairs of pictures in a folder: ``inputs/NAME.png`` is given, ``targets/NAME.png`` to be made of it.

    Args:
        split: ``"train"`` or ``"test"``. A folder with sub-folders ``train`` and ``test`` (or ``val``,
            ``validation``), each with ``inputs`` and ``targets``, has its own splits; any other is divided.
        path: the folder. Names are compared without their endings.
        size: side of the targets; None takes that of the first one and expects it of all.
        input_size: side of the inputs; the same.
        channels: 1 or 3.
        test_fraction: share of the pairs held out, in [0, 1); 0 puts all of them into both splits.
        seed: another seed gives another split.

    Raises:
        DataNotFoundError: no such folder, or no pairs in it.
        InputError: a picture without its other, or one that cannot be decoded.
    """
    check_split(split)
    check_shape("picture-pairs", size, channels)
    check_shape("picture-pairs", input_size, channels)
    root = existing_folder(path, "picture-pairs", "pairs of pictures")
    own = own_split(root, split)
    inputs, targets = (_pictures((own or root) / part) for part in (INPUTS, TARGETS))
    alone = sorted(inputs.keys() ^ targets.keys())
    if alone:
        has, lacks = (INPUTS, TARGETS) if alone[0] in inputs else (TARGETS, INPUTS)
        raise InputError(
            f"{own or root}: expected each picture in both folders, '{alone[0]}' is in {has}/ but not in "
            f"{lacks}/ ({len(alone)} such); add or remove it"
        )
    names = list(targets)
    if own is None:
        chosen = split_indices(len(names), split, test_fraction=test_fraction, seed=seed)
        names = [names[index] for index in chosen.tolist()]
    sides = [None if side is None else (side, side) for side in (size, input_size)]
    told = {"name": str(root), "channels": channels}
    made = [
        FolderData([files[name] for name in names], size=side, **told)
        for files, side in zip((targets, inputs), sides, strict=True)
    ]
    return PicturePairs(made[0], made[1], str(root))


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names without endings, in order."""
    found = pictures_of(folder.iterdir()) if folder.is_dir() else []
    if not found:
        raise DataNotFoundError(f"picture-pairs: no pictures ({', '.join(sorted(SUFFIXES))}) in {folder}")
    named = {file.stem: file for file in found}
    if len(named) < len(found):
        twice = next(file.stem for file in found if named[file.stem] != file)
        raise InputError(f"{folder}: '{twice}' is there with two endings; remove one of them")
    return named
