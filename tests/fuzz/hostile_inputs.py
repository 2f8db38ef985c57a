"""About a hundred hostile data files and arguments, each as the command line that meets it.

Every case writes what it needs below a folder of its own and says how the call ends: refused with one line
and exit code 2, or, for what only looks hostile, trained.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

Make = Callable[[Path], "list[str]"]


@dataclass(frozen=True)
class Case:
    """A name, what writes the file and gives the arguments, and whether the call is to succeed."""

    name: str
    make: Make
    succeeds: bool = False


def cases() -> list[Case]:
    """Every case, in a fixed order."""
    parts = (
        _npz_cases,
        _pt_cases,
        _other_file_cases,
        _npy_cases,
        _shard_cases,
        _picture_cases,
        _idx_cases,
        _cell_cases,
        _argument_cases,
    )
    return [case for part in parts for case in part()]


def train_on(data: str | Path, *more: str) -> list[str]:
    """The smallest training on ``data``; what it must not reach in most cases."""
    parts = ["--prior", "gaussian", "--coupling", "condot", "--model", "mlp:width=8,depth=1", "--steps", "1"]
    keys = ["batch_size=4", "sample_every=0", "device=cpu", "warmup=0"]
    return [
        "train",
        "--data",
        str(data),
        *parts,
        *(t for key in keys for t in ("--set", f"training.{key}")),
        *more,
    ]


# -- arrays -----------------------------------------------------------------------------------

X = np.arange(60, dtype=np.float32).reshape(20, 3)
LABELS = np.arange(20) % 2


def _npz(**arrays: Any) -> Make:
    def make(folder: Path) -> list[str]:
        np.savez(folder / "x.npz", **arrays)
        return train_on(folder / "x.npz")

    return make


def _npz_cases() -> Iterator[Case]:
    bad: dict[str, dict[str, Any]] = {
        "text": {"x": np.array(["a", "b"])},
        "pickled objects": {"x": np.array([{"a": 1}], dtype=object)},
        "records": {"x": np.zeros((4, 2), dtype=[("a", "f4")])},
        "times": {"x": np.zeros((4, 2), dtype="datetime64[s]")},
        "complex": {"x": X + 1j},
        "no rows": {"x": X[:0]},
        "no columns": {"x": X[:, :0]},
        "no dimension": {"x": np.float32(3)},
        "one dimension": {"x": X[:, 0]},
        "no x": {"y": LABELS},
        "nothing": {},
        "nan": {"x": np.where(X == 7, np.nan, X)},
        "infinite": {"x": np.where(X == 7, np.inf, X)},
        "too large for float32": {"x": X.astype(np.float64) * 1e300},
        "negative label": {"x": X, "y": LABELS - 1},
        "label of 1e8": {"x": X, "y": LABELS * 10**8},
        "label of 2**40": {"x": X, "y": LABELS * (1 << 40)},
        "label of 2**64 - 1": {"x": X, "y": np.full(20, 2**64 - 1, dtype=np.uint64)},
        "labels in floating point": {"x": X, "y": LABELS.astype(np.float32)},
        "fewer labels": {"x": X, "y": LABELS[:7]},
        "labels of two columns": {"x": X, "y": np.stack([LABELS, LABELS], 1)},
        "label of no dimension": {"x": X, "y": np.int64(1)},
        "embedding of no dimension": {"x": X, "y": np.float32(0.5)},
        "embeddings of no width": {"x": X, "y": X[:, :0]},
        "labels of three dimensions": {"x": X, "y": np.zeros((20, 2, 2), np.int64)},
        "nan in embeddings": {"x": X, "y": np.full((20, 2), np.nan, np.float32)},
        "text labels": {"x": X, "y": np.array(["a"] * 20)},
        "pictures of 0 to 255": {
            "x": np.tile(np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1), (12, 1, 1, 3))
        },
        "whole numbers of 0 to 255": {"x": np.tile(np.arange(256).reshape(1, 1, 16, 16), (12, 3, 1, 1))},
        "bytes with transparency": {"x": np.zeros((12, 8, 8, 4), np.uint8)},
    }
    good: dict[str, dict[str, Any]] = {
        "half precision": {"x": X.astype(np.float16)},
        "foreign byte order": {"x": X.astype(">f8"), "y": LABELS.astype(">u2")},
        "extended precision": {"x": X.astype(np.longdouble)},
        "labels of one column": {"x": X, "y": LABELS[:, None]},
        "floats with channels last": {"x": np.zeros((12, 8, 8, 3), np.float32)},
    }
    yield from (Case(f"npz: {name}", _npz(**arrays)) for name, arrays in bad.items())
    yield from (Case(f"npz: {name}", _npz(**arrays), succeeds=True) for name, arrays in good.items())
    yield Case("npz: a header that claims 8 TB", _claiming_npz)
    yield Case("npz: a size forged to 1 TB", _forged_npz)
    yield Case("npz: cut in half", lambda folder: _cut(folder / "x.npz", _bytes_of_npz()))
    yield Case("npz: an array alone", lambda folder: _raw(folder / "x.npz", _bytes_of_npy(X)))
    yield Case("npz: empty", lambda folder: _raw(folder / "x.npz", b""))
    yield Case(
        "npz: words", lambda folder: _raw(folder / "x.npz", b"these are no arrays, only words in a file")
    )
    yield Case("npz: a folder", _folder_named_like_a_file)


def _bytes_of_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _bytes_of_npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((500, 30)))
    return stream.getvalue()


def _raw(file: Path, content: bytes) -> list[str]:
    file.write_bytes(content)
    return train_on(file)


def _cut(file: Path, content: bytes) -> list[str]:
    return _raw(file, content[: len(content) // 2])


def _claiming_npz(folder: Path) -> list[str]:
    content = _bytes_of_npy(np.zeros((10, 2)))
    header = content.replace(b"(10, 2)", b"(500000000000, 2)").replace(b" " * 10, b"", 1)
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("x.npy", header)
    return train_on(folder / "x.npz")


def _forged_npz(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", _bytes_of_npy(np.zeros((1000, 2))))
        archive.infolist()[0].file_size = 1 << 40
    return train_on(folder / "x.npz")


def _folder_named_like_a_file(folder: Path) -> list[str]:
    (folder / "x.npz").mkdir()
    return train_on(folder / "x.npz")


def _pt(make: Callable[[], Any]) -> Make:
    def save(folder: Path) -> list[str]:
        torch.save(make(), folder / "x.pt")
        return train_on(folder / "x.pt")

    return save


def _pt_cases() -> Iterator[Case]:
    x, labels = torch.from_numpy(X), torch.from_numpy(LABELS)
    bad: dict[str, Callable[[], Any]] = {
        "sparse": lambda: x.to_sparse(),
        "sparse rows": lambda: x.to_sparse_csr(),
        "quantised": lambda: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
        "meta": lambda: x.to("meta"),
        "expanded to 8 TB": lambda: torch.zeros(1, 1).expand(1 << 40, 2),
        "complex": lambda: x + 1j,
        "an object": lambda: {"x": x, "run": print},
        "three tensors": lambda: [x, labels, x],
        "texts": lambda: {"x": "x"},
        "a number": lambda: 3,
        "no rows": lambda: x[:0],
        "no dimension": lambda: x[0, 0],
        "label of 2**40": lambda: (x, labels << 40),
        "sparse labels": lambda: (x, labels.to_sparse()),
        "nan": lambda: x / 0,
        "a nested list": lambda: _nested(100),
    }
    good: dict[str, Callable[[], Any]] = {
        "a gradient": lambda: x.clone().requires_grad_(),
        "a parameter": lambda: torch.nn.Parameter(x.clone()),
        "eight bits of floating point": lambda: x.to(torch.float8_e4m3fn),
    }
    yield from (Case(f"pt: {name}", _pt(make)) for name, make in bad.items())
    yield from (Case(f"pt: {name}", _pt(make), succeeds=True) for name, make in good.items())
    yield Case("pt: cut in half", lambda folder: _cut(folder / "x.pt", _bytes_of_pt(x)))
    yield Case("pt: words", lambda folder: _raw(folder / "x.pt", b"these are no tensors"))
    yield Case("pt: an empty archive", lambda folder: _raw(folder / "x.pt", b"PK\x05\x06" + b"\0" * 18))


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def _bytes_of_pt(x: torch.Tensor) -> bytes:
    stream = io.BytesIO()
    torch.save(x, stream)
    return stream.getvalue()


def _other_file_cases() -> Iterator[Case]:
    yield Case("csv", lambda folder: _raw(folder / "x.csv", b"1,2\n3,4\n"))
    yield Case("csv as arrays", lambda folder: train_on(f"arrays:path={_written(folder / 'x.csv', b'1,2')}"))


def _npy_cases() -> Iterator[Case]:
    yield Case("npy", lambda folder: _raw(folder / "x.npy", _bytes_of_npy(X)), succeeds=True)
    whole = _bytes_of_npy(X)
    bad = {
        "empty": b"",
        "cut off": whole[:-10],
        "words": b"these are no arrays, only words in a file",
        "whole numbers": _bytes_of_npy(LABELS[:, None]),
        "one dimension": _bytes_of_npy(X[:, 0]),
        "nan": _bytes_of_npy(np.where(X == 7, np.nan, X)),
        "too large for float32": _bytes_of_npy(X.astype(np.float64) * 1e300),
        "a petabyte": whole.replace(b"(20, 3), }" + 13 * b" ", b"(999999999999999, 3), }"),
        "code in its header": whole.replace(b"(20, 3), }", b"exit(7), }"),
    }
    assert bad["a petabyte"] != whole
    yield from (
        Case(f"npy: {name}", lambda folder, content=content: _raw(folder / "x.npy", content))
        for name, content in bad.items()
    )


def _tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def _shard_cases() -> Iterator[Case]:
    events = {f"{row}.npy": _bytes_of_npy(X[row]) for row in range(12)}
    whole, huge = _tar(events), tarfile.TarInfo("huge.npy")
    huge.size = 1 << 50
    yield Case("tar", lambda folder: _raw(folder / "x.tar", whole), succeeds=True)
    bad = {
        "empty": b"",
        "words": b"these are no records, only words in a file " * 40,
        "no members": _tar({}),
        "members of no kind": _tar({"a.mp3": b"x", "b.txt": b"y"}),
        "pickled": _tar({"a.pth": b"x", "a.pyd": b"y"}),
        "cut off": whole[:7000],
        "a member of a petabyte": huge.tobuf(tarfile.GNU_FORMAT) + whole,
        "no label": _tar({**events, "0.cls": b"1"}),
        "an event of a petabyte": _tar(
            {"a.npy": events["0.npy"].replace(b"(3,), }" + 15 * b" ", b"(999999999999999999,),}")}
        ),
    }
    yield from (
        Case(f"tar: {name}", lambda folder, content=content: _raw(folder / "x.tar", content))
        for name, content in bad.items()
    )
    yield Case("tar: a stream", lambda folder: train_on("pipe:cat x.tar"))


def _written(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


# -- pictures ---------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def _pictures(paint: Callable[[Path], object], options: str = "") -> Make:
    def make(folder: Path) -> list[str]:
        paint(folder)
        return train_on(f"folder:path={folder},test_fraction=0{options}")

    return make


def _save(array: np.ndarray, name: str) -> Callable[[Path], object]:
    return lambda folder: Image.fromarray(array).save(folder / name)


def _two_sizes(folder: Path) -> None:
    for side in (4, 5):
        Image.new("RGB", (side, side)).save(folder / f"{side}.png")


def _both_layouts(folder: Path) -> None:
    (folder / "cat").mkdir()
    for name in ("a.png", "cat/b.png"):
        Image.new("RGB", (4, 4)).save(folder / name)


def _odd_class(folder: Path) -> None:
    (folder / "x[b] \u202e\u00e9\n\\1").mkdir()
    Image.new("RGB", (4, 4)).save(next(folder.iterdir()) / "a.png")


def _picture_cases() -> Iterator[Case]:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    whole = _save(grey, "a.png")
    bad: dict[str, Make] = {
        "81 million pixels": _pictures(
            lambda f: (f / "a.png").write_bytes(png_header(9000, 9000)), ",size=8"
        ),
        "2**62 pixels": _pictures(
            lambda f: (f / "a.png").write_bytes(png_header(2**31 - 1, 2**31 - 1)), ",size=8"
        ),
        "large events": _pictures(lambda f: (f / "a.png").write_bytes(png_header(3000, 3000))),
        "promises only": _pictures(lambda f: (f / "a.png").write_bytes(png_header(8, 8))),
        "cut in half": _pictures(lambda f: (f / "a.png").write_bytes(png_header(8, 8)[:30])),
        "words": _pictures(lambda f: (f / "a.png").write_bytes(b"no picture")),
        "empty file": _pictures(lambda f: (f / "a.png").write_bytes(b"")),
        "a program of PostScript": _pictures(
            lambda f: (f / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
        ),
        "floating point": _pictures(_save(grey.astype(np.float32) / 16, "a.tif")),
        "32 bits": _pictures(_save(grey.astype(np.int32) * 9999, "a.tif")),
        "two sizes": _pictures(_two_sizes),
        "both layouts": _pictures(_both_layouts),
        "none": _pictures(lambda f: None),
        "size=100000": _pictures(whole, ",size=100000"),
        "size=-1": _pictures(whole, ",size=-1"),
        "size=big": _pictures(whole, ",size=big"),
        "size=1e3": _pictures(whole, ",size=1e3"),
        "channels=2": _pictures(whole, ",channels=2"),
        "channels=rgb": _pictures(whole, ",channels=rgb"),
        "test_fraction=1": _pictures(whole, ",test_fraction=1"),
        "test_fraction=nan": _pictures(whole, ",test_fraction=nan"),
        "test_fraction=most": _pictures(whole, ",test_fraction=most"),
        "seed=-1": _pictures(whole, ",seed=-1"),
        "seed=2**80": _pictures(whole, f",seed={2**80}"),
    }
    good: dict[str, Make] = {
        "16 bits": _pictures(_save(grey.astype(np.uint16) * 4000, "a.png")),
        "a class of an odd name": _pictures(_odd_class),
    }
    yield from (Case(f"pictures: {name}", make) for name, make in bad.items())
    yield from (Case(f"pictures: {name}", make, succeeds=True) for name, make in good.items())


# -- idx and cells ----------------------------------------------------------------------------


def _idx(images: bytes, labels: bytes = b"") -> Make:
    def make(folder: Path) -> list[str]:
        (folder / "train-images-idx3-ubyte").write_bytes(images)
        (folder / "train-labels-idx1-ubyte").write_bytes(labels)
        return train_on(f"fashion-mnist:root={folder}")

    return make


def _packed_idx(folder: Path) -> list[str]:
    """100 MB of zeros behind a header that says one picture."""
    with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb", 1) as file:
        file.write(_idx_header(3, 1, 2, 2))
        for _ in range(100):
            file.write(bytes(1 << 20))
    (folder / "train-labels-idx1-ubyte").write_bytes(_idx_header(1, 1) + b"\0")
    return train_on(f"fashion-mnist:root={folder}")


def _idx_header(dimensions: int, *sides: int, kind: int = 8) -> bytes:
    return struct.pack(f">BBBB{dimensions}I", 0, 0, kind, dimensions, *sides)


def _idx_cases() -> Iterator[Case]:
    one = _idx_header(3, 1, 2, 2) + bytes(4)
    bad: dict[str, Make] = {
        "empty": _idx(b""),
        "words": _idx(b"no pictures"),
        "floating point": _idx(_idx_header(3, 1, 2, 2, kind=13) + bytes(16)),
        "2**96 bytes": _idx(_idx_header(3, 2**32 - 1, 2**32 - 1, 2**32 - 1)),
        "200 dimensions": _idx(bytes([0, 0, 8, 200]) + bytes(8)),
        "no pictures": _idx(_idx_header(3, 0, 28, 28), _idx_header(1, 0)),
        "more labels": _idx(one, _idx_header(1, 3) + bytes(3)),
        "label 200": _idx(one, _idx_header(1, 1) + b"\xc8"),
        "packed": _packed_idx,
    }
    yield from (Case(f"idx: {name}", make) for name, make in bad.items())


def _cells(**changes: Any) -> Make:
    def make(folder: Path) -> list[str]:
        import anndata
        import pandas

        parts: dict[str, Any] = {"pca": np.ones((12, 3), np.float32), "labels": ["a", "b"] * 6, **changes}
        index = [str(row) for row in range(len(parts["pca"]))]
        obs = pandas.DataFrame({"bulk_labels": parts["labels"]}, index=index)
        annotated = anndata.AnnData(np.zeros((len(index), 1), np.float32), obs=obs)
        annotated.obsm["X_pca"] = parts["pca"]
        annotated.write_h5ad(folder / "x.h5ad")
        return train_on(f"cells:path={folder / 'x.h5ad'}{parts.get('options', '')}")

    return make


def _cell_cases() -> Iterator[Case]:
    yield Case("cells: words", lambda folder: _raw(folder / "x.h5ad", b"no cells at all"))
    yield Case("cells: empty", lambda folder: _raw(folder / "x.h5ad", b""))
    yield Case("cells: nan", _cells(pca=np.full((12, 3), np.nan, np.float32)))
    yield Case("cells: no columns", _cells(pca=np.zeros((12, 0), np.float32)))
    yield Case("cells: no cells", _cells(pca=np.zeros((0, 3), np.float32), labels=[]))
    yield Case("cells: another representation", _cells(options=",representation=X_umap"))
    yield Case("cells: another column", _cells(options=",label=3"))


# -- arguments --------------------------------------------------------------------------------


def _arguments(*arguments: str) -> Make:
    return lambda folder: [argument.replace("FOLDER", str(folder)) for argument in arguments]


def _argument_cases() -> Iterator[Case]:
    moons = "moons:n=40"
    bad: dict[str, list[str]] = {
        "no data": train_on(""),
        "blank data": train_on("  "),
        "a path of nothing": train_on("folder:path="),
        "a NUL in the data": train_on("a\0b.npz"),
        "a long name": train_on("x" * 100_000),
        "a long path": train_on("/" + "x" * 5000 + ".npz"),
        "a home of nobody": train_on("~nobody-of-that-name/x.npz"),
        "a line break": train_on("digits\nmoons"),
        "the wrong way round": train_on("\u202esnoom\u00e9\u4e2d"),
        "half a surrogate": train_on("\udcff"),
        "escape sequences": train_on("\x1b[31mred\x1b[0m"),
        "rich markup": train_on("x[/b].npz"),
        "points without end": train_on("moons:n=1000000000000"),
        "a seed below 0": train_on("moons:n=40,seed=-1"),
        "a seed of 100 digits": train_on(f"moons:n=40,seed={10**100}"),
        "brackets": train_on("moons:n=" + "(" * 5000),
        "5000 digits": train_on("moons:n=" + "9" * 5000),
        "no value": train_on("moons:n="),
        "no equals sign": train_on("moons:n"),
        "no prior": train_on(moons, "--prior", ""),
        "a NUL in the prior": train_on(moons, "--prior", "g\0mm"),
        "components of text": train_on(moons, "--prior", "gmm:components=many"),
        "a truth for a number": train_on(moons, "--prior", "gmm:components=true"),
        "components without end": train_on(moons, "--prior", "gmm:components=1000000000"),
        "width of text": train_on(moons, "--model", "mlp:width=wide"),
        "width without end": train_on(moons, "--model", "mlp:width=1000000000"),
        "steps of 100 digits": train_on(moons, "--steps", "9" * 100),
        "no step": train_on(moons, "--steps", "0"),
        "a seed of the run": train_on(moons, "--seed", "9" * 30),
        "a batch without end": train_on(moons, "--set", "training.batch_size=1000000000000"),
        "a setting of brackets": train_on(moons, "--set", "training.lr=" + "[" * 3000),
        "a setting of nothing": train_on(moons, "--set", "=1"),
        "settings of settings": train_on(moons, "--set", "a.b.c.d=1"),
        "a configuration that is a folder": train_on(moons, "--config", "FOLDER"),
        "a configuration of a NUL": train_on(moons, "--config", "a\0b"),
        "a long configuration": train_on(moons, "--config", "x" * 5000),
        "a list of a family": ["list", "\0"],
        "evaluate nothing": ["evaluate", ""],
        "evaluate a NUL": ["evaluate", "a\0b"],
        "evaluate a long name": ["evaluate", "x" * 5000],
        "sample nothing": ["sample", "", "--out", "FOLDER/x.png"],
        "inspect nothing": ["inspect", "--data", ""],
        "inspect a few": ["inspect", "--data", moons, "--examples", "3"],
        "inspect without a prior": ["inspect", "--data", moons, "--prior", ""],
        "inspect without end": ["inspect", "--data", moons, "--steps", "0"],
        "inspect a seed": ["inspect", "--data", moons, "--seed", "9" * 30],
        "compare nothing": ["compare", "--data", "", "--prior", "gaussian", "--out", "FOLDER/out"],
        "compare a guidance": ["compare", "--set", "guidance=2", "--out", "FOLDER/out"],
    }
    yield from (Case(f"arguments: {name}", _arguments(*arguments)) for name, arguments in bad.items())
