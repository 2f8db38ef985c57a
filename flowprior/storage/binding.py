"""What binds files together: a manifest holds the digest and size of each, and a digest of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.storage.reading import read_bytes

DIGEST = "digest"
"""Key of a manifest's digest of all its other keys."""


@dataclass(frozen=True)
class Binding:
    """One file as its manifest knows it.

    Attributes:
        name: inside the manifest's folder.
        sha256: of its bytes, in hexadecimal.
        size: in bytes.
    """

    name: str
    sha256: str
    size: int

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    def read(self, manifest: Path) -> bytes:
        """The file's bytes, where it is the one that ``manifest`` was written for.

        Raises:
            CheckpointError: it is missing, or another one.
        """
        path = manifest.parent / self.name
        if not path.is_file():
            raise CheckpointError(
                f"{path} is missing, to which {manifest} belongs; pass the directory of a saved flow or run"
            )
        size = path.stat().st_size
        if size == self.size:
            data = read_bytes(path, self.size)
            if hashlib.sha256(data).hexdigest() == self.sha256:
                return data
        raise CheckpointError(
            f"{path} does not belong to {manifest}: it is truncated, corrupted or another one's ({size} "
            f"bytes, expected {self.size} of sha256 {self.sha256[:16]}…); use another checkpoint"
        )

    @classmethod
    def of(cls, value: Any) -> Binding:
        """Read a manifest's entry.

        Raises:
            ValueError: it is none, or names a file outside the manifest's folder.
        """
        binding = cls(**value)
        kinds = (type(binding.name), type(binding.sha256), type(binding.size))
        if kinds != (str, str, int) or Path(binding.name).name != binding.name or binding.size < 0:
            raise ValueError(f"an impossible file {value!r}")
        return binding


def bind(path: Path, name: str | None = None) -> Binding:
    """The binding of a file as it is now; ``name`` is the one it will have."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Binding(name or path.name, digest, path.stat().st_size)


def signed(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with a digest of them as the last key."""
    return {**values, DIGEST: _digest(values)}


def unsigned(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """``values`` of :func:`signed` without their digest, which has to be theirs.

    Raises:
        CheckpointError: it is missing or that of other values; ``path`` is named in the message.
    """
    rest = {key: value for key, value in values.items() if key != DIGEST}
    if values.get(DIGEST) != _digest(rest):
        raise CheckpointError(
            f"{path} is corrupted or was changed after it was written: its digest does not match; "
            "use another checkpoint"
        )
    return rest


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
