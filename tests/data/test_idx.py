"""IDX files written by the test, plain and packed, whole and broken."""

from __future__ import annotations

import gzip
import struct

import pytest
import torch
from torch import Tensor

from flowprior.data.fashion_mnist import read_idx
from flowprior.errors import InputError


def idx_bytes(values: Tensor, kind: int = 8) -> bytes:
    """The IDX form of a uint8 tensor."""
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, kind, values.dim(), *values.shape)
    return header + bytes(values.flatten().tolist())


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 4, 3)])
def test_tensors_come_back(ending, shape, tmp_path, generator):
    values = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    file = tmp_path / f"values{ending}"
    file.write_bytes(gzip.compress(idx_bytes(values)) if ending else idx_bytes(values))
    assert torch.equal(read_idx(file), values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected an IDX file"),
        (b"PK\x03\x04 something else", "expected an IDX file"),
        (idx_bytes(torch.zeros(3, dtype=torch.uint8), kind=13), "got type 0x0d"),
        (b"\0\0\x08\x03\0\0\0\x05", "header is truncated"),
        (idx_bytes(torch.zeros(3, 4, dtype=torch.uint8))[:-2], r"expected 12 bytes .*, got 10"),
        (idx_bytes(torch.zeros(3, dtype=torch.uint8)) + b"more", "expected 3 bytes"),
    ],
)
def test_broken_files_are_named(content, message, tmp_path):
    file = tmp_path / "broken-idx"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"broken-idx: .*{message}"):
        read_idx(file)


def test_broken_packing_is_named(tmp_path):
    file = tmp_path / "broken.gz"
    whole = gzip.compress(idx_bytes(torch.zeros(3000, dtype=torch.uint8)))
    for content in (whole[:-9], b"not packed", whole[:20] + b"\xff" * 8 + whole[28:]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"broken.gz: cannot be read"):
            read_idx(file)


@pytest.mark.parametrize(
    ("shape", "message"), [((3,), "expected 3 bytes .* or more"), ((1 << 31, 2), "at most")]
)
def test_no_more_is_unpacked_than_the_header_says(tmp_path, monkeypatch, shape, message):
    file = tmp_path / "bomb.gz"
    header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    file.write_bytes(gzip.compress(header + bytes(1 << 24)))
    unpacked, read = [], gzip.GzipFile.read

    def counted(self, size=-1):
        unpacked.append(read(self, size))
        return unpacked[-1]

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    monkeypatch.setattr(gzip, "decompress", None)
    with pytest.raises(InputError, match=message):
        read_idx(file)
    assert sum(map(len, unpacked)) < 1 << 18
