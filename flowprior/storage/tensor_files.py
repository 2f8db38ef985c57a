"""The files of tensors (safetensors, with a checksum), the files of training states, and a cache of tensors.

A training state (optimiser, running means, step) is a ``torch.save`` file that is read with
``weights_only=True``. A network that is rebuilt for the tensors of a file is refused before it takes far more
memory than the tensors.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flowprior.errors import CheckpointError
from flowprior.storage.reading import read_bytes, unreadable
from flowprior.storage.user_paths import cache_folder
from flowprior.storage.writing import replacing

HEADER = "flowprior"
"""The one key of the file's own metadata; with a single key equal tensors give equal files, byte for byte."""
HEADER_LIMIT = 100 << 20
"""The longest header that the format allows, in bytes."""
SLACK = 4
"""The factor by which a network may exceed the tensors of its file, in elements and in number, when built."""
FREE_NUMBERS, FREE_TENSORS = 1 << 24, 1 << 12
"""The elements (64 MiB of float32) and tensors beyond that factor, such as tables that are not saved."""


def save_tensors(
    path: Path | str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write ``tensors`` and ``metadata`` to a safetensors file; the previous file survives a failure.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    # Through memory: the writer of safetensors makes a temporary file, which a kill would leave for ever.
    with replacing(path) as temporary:
        temporary.write_bytes(packed(tensors, metadata or {}))


def packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file of ``tensors`` and ``metadata``, with a checksum."""
    # safetensors refuses tensors that share memory (tied weights), so every one is a copy of its own.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    header = json.dumps({"crc32": _checksum(copies), "metadata": dict(metadata)}, sort_keys=True)
    return save(copies, metadata={HEADER: header})


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, on the CPU, and the metadata that :func:`save_tensors` wrote.

    Raises:
        CheckpointError: the file is missing, truncated or corrupted.
    """
    return parse_tensors(read_bytes(path), Path(path))


def parse_tensors(data: bytes, path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata in the bytes of a safetensors file; errors name ``path``.

    Raises:
        CheckpointError: the bytes are truncated or corrupted.
    """
    try:
        checksum, metadata = _parse_header(data)
        tensors = load(data)
        found = _checksum(tensors)
    except Exception as error:  # What a parser raises on bytes of any kind is its own affair.
        raise unreadable(path, error) from error
    if checksum is not None and checksum != found:
        raise CheckpointError(f"{path} is corrupted: its checksum does not match; use another checkpoint")
    return tensors, metadata


def _parse_header(data: bytes) -> tuple[str | None, dict[str, str]]:
    """Return the checksum and the metadata in a header; other writers' files have no checksum."""
    length = int.from_bytes(data[:8], "little")
    if length > min(HEADER_LIMIT, len(data) - 8):
        raise ValueError(f"its header would have {length} bytes")
    own = json.loads(data[8 : 8 + length].decode("utf-8")).get("__metadata__") or {}
    header: dict[str, Any] = json.loads(own[HEADER]) if HEADER in own else {"metadata": own}
    metadata, checksum = dict(header["metadata"]), header.get("crc32")
    if any(type(text) is not str for item in metadata.items() for text in item):
        raise ValueError("its metadata are no texts")
    if HEADER in own and type(checksum) is not str:
        raise ValueError("it has no checksum")
    return checksum, metadata


def _checksum(tensors: dict[str, Tensor]) -> str:
    """Return the CRC-32 over the names, types, shapes and bytes of tensors, in the order of the names."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name}{tensor.dtype}{list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def cached_tensors(
    name: str, metadata: Mapping[str, str], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the result of ``compute`` from the cache, or compute it and keep it there.

    A damaged file is replaced with a warning; a cache that cannot be written gives a warning.

    Args:
        name: the name of the file, with a digest of everything that determines the tensors.
        metadata: texts to be stored beside the tensors, by which a person recognises the file.
        compute: a function that computes the tensors.
    """
    path = cache_folder() / f"{name}.safetensors"
    if path.is_file():
        try:
            return load_tensors(path)[0]
        except CheckpointError as error:
            warnings.warn(f"the cached tensors are computed anew: {error}", RuntimeWarning, stacklevel=4)
    found = compute()
    try:
        save_tensors(path, found, dict(metadata))
    except CheckpointError as error:
        warnings.warn(f"{name} is not cached: {error}", RuntimeWarning, stacklevel=4)
    return found


def save_state(path: Path | str, state: dict[str, Any]) -> None:
    """Write a training state of tensors and plain Python values; the previous file survives a failure.

    Raises:
        CheckpointError: the file cannot be written (disk full, no permission).
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.save(state, file)


def parse_state(data: bytes, path: Path) -> dict[str, Any]:
    """Return the training state in the bytes of a file of :func:`save_state`; errors name ``path``.

    Raises:
        CheckpointError: the bytes are truncated, corrupted, or hold pickled objects.
    """
    try:
        _check_archive(data)
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds pickled objects or is corrupted; flowprior only loads tensors and plain values, "
            "since unpickling runs code"
        ) from error
    except Exception as error:  # What a parser raises on bytes of any kind is its own affair.
        raise unreadable(path, error) from error
    if not isinstance(state, dict):
        raise unreadable(path, ValueError(f"expected a dictionary, got {type(state).__name__}"))
    return state


def _check_archive(data: bytes) -> None:
    """Refuse an archive with compressed entries, which torch.save never writes, or with a wrong checksum.

    Compressed entries may unpack to any size; torch does not verify the checksums of its own format.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its entries are compressed")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("its entries are longer than the file")
        if archive.testzip() is not None:
            raise ValueError("its checksum does not match")


def sizes_of(tensors: Mapping[str, Tensor]) -> list[int]:
    """Return the number of elements of each tensor."""
    return [tensor.numel() for tensor in tensors.values()]


def sizes_in(files: Iterable[Path]) -> list[int]:
    """Return the number of elements of each tensor in safetensors files; only their headers are read.

    Raises:
        SafetensorError: a file is damaged.
    """
    sizes = []
    for file in files:
        with safe_open(file, framework="pt") as opened:
            sizes += [math.prod(part.get_shape()) for part in map(opened.get_slice, opened.keys())]
    return sizes


class SizedBy(TorchDispatchMode):
    """A context in which no network can be built that is far larger than the tensors of its file.

    A description of a few bytes can ask for a network of any size. The file's tensors show how large it
    should be, and a larger one is refused before it takes memory. PyTorch's meta device would do as well, but
    its first use costs seconds.

    Args:
        sizes: the number of elements of each tensor in the file.
        described: the network to be built, for messages, such as ``"model 'mlp'"``.

    Raises:
        CheckpointError: the network has far more elements, or more tensors, than the file.
    """

    def __init__(self, sizes: Iterable[int], described: str) -> None:
        super().__init__()
        held = list(sizes)
        self.described = described
        self.held = sum(held)
        self.numbers = SLACK * self.held + FREE_NUMBERS
        self.tensors = SLACK * len(held) + FREE_TENSORS

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count the tensors that are made by a size, such as by ``torch.empty``, and run the operation."""
        size = args[0] if args else None
        if isinstance(size, list | tuple) and all(type(side) is int for side in size):
            self.numbers -= math.prod(size)
            self.tensors -= 1
        if self.numbers < 0 or self.tensors < 0:
            raise CheckpointError(
                f"the tensors do not fit the {self.described}: it is much larger than the {self.held:,} "
                "numbers that the file has for it; use another checkpoint"
            )
        return func(*args, **(kwargs or {}))


def part_of(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with ``part.``, named without that prefix."""
    prefix = f"{part}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
