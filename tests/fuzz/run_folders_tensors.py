"""Mutators of safetensors files: another header, or other tensors under a right checksum."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowprior.storage import load_tensors, save_tensors
from tests.fuzz.run_folders_mutators import NothingToChange, Site, mutator

FORM = "safetensors"
METADATA = "__metadata__"


@mutator("header-length", FORM)
def header_length(site: Site, chance: random.Random) -> str:
    """The header's length is huge, zero, or off by one."""
    data = site.path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    other = chance.choice([2**63, 2**40, len(data) + 1, 0, 1, length + 1, length - 1])
    site.path.write_bytes(other.to_bytes(8, "little") + data[8:])
    return f"header length {length} -> {other}"


@mutator("header-nested", FORM)
def header_nested(site: Site, chance: random.Random) -> str:
    """The header is 100,000 brackets."""
    text = b"[" * 100_000 + b"]" * 100_000
    site.path.write_bytes(len(text).to_bytes(8, "little") + text)
    return "header of 100,000 brackets"


@mutator("dtype-changed", FORM)
def dtype_changed(site: Site, chance: random.Random) -> str:
    """A tensor's type becomes another of the same size."""
    same = {"F32": "I32", "F64": "I64", "I64": "F64", "U8": "I8", "BOOL": "U8", "F16": "BF16", "I32": "F32"}

    def change(entry: dict[str, Any]) -> str:
        old, entry["dtype"] = entry["dtype"], same.get(entry["dtype"], "NONE")
        return f"{old} -> {entry['dtype']}"

    return _edit_entry(site, chance, change)


@mutator("shape-changed", FORM)
def shape_changed(site: Site, chance: random.Random) -> str:
    """A tensor's shape becomes another of as many numbers."""

    def change(entry: dict[str, Any]) -> str:
        old = entry["shape"]
        entry["shape"] = chance.choice([[1, *old], [*old, 1], old[::-1]]) if len(old) > 1 else [1, *old]
        return f"{old} -> {entry['shape']}"

    return _edit_entry(site, chance, change)


@mutator("shape-huge", FORM)
def shape_huge(site: Site, chance: random.Random) -> str:
    """A tensor says that it is larger than any memory."""

    def change(entry: dict[str, Any]) -> str:
        entry["shape"] = chance.choice([[2**40], [2**62, 8], [-1]])
        return f"shape {entry['shape']}"

    return _edit_entry(site, chance, change)


@mutator("offsets-overlapping", FORM)
def offsets_overlapping(site: Site, chance: random.Random) -> str:
    """A tensor lies where the file's first one lies."""

    def change(entry: dict[str, Any]) -> str:
        start, end = entry["data_offsets"]
        entry["data_offsets"] = [0, end - start] if start else [end, end + end]
        return f"offsets {[start, end]} -> {entry['data_offsets']}"

    return _edit_entry(site, chance, change)


@mutator("tensor-renamed", FORM)
def tensor_renamed(site: Site, chance: random.Random) -> str:
    """A tensor has another name."""

    def change(header: dict[str, Any]) -> str:
        name = _tensor_name(header, chance)
        other = chance.choice([f"{name}.more", "model.", "", name.upper()])
        header[other] = header.pop(name)
        return f"{name} -> {other}"

    return _edit_header(site, change)


@mutator("tensor-dropped", FORM)
def tensor_dropped(site: Site, chance: random.Random) -> str:
    """A tensor is not named in the header."""

    def change(header: dict[str, Any]) -> str:
        name = _tensor_name(header, chance)
        del header[name]
        return f"{name} dropped"

    return _edit_header(site, change)


@mutator("metadata-of-another-kind", FORM)
def metadata_of_another_kind(site: Site, chance: random.Random) -> str:
    """The metadata are no mapping of texts, or the texts not what the package writes there."""
    inner = ["7", "null", "[]", "{}", "words", "[" * 100_000]
    inner += ['{"metadata": 7}', '{"crc32": null, "metadata": []}']

    def change(header: dict[str, Any]) -> str:
        known = sorted(header.get(METADATA) or {"flowprior": ""})
        replaced: list[Any] = [dict.fromkeys(known, text) for text in inner]
        header[METADATA] = chance.choice([7, [], None, {known[0]: 7}, {}, *replaced])
        return f"metadata {str(header[METADATA])[:60]}"

    return _edit_header(site, change)


@mutator("tensors-not-finite", FORM)
def tensors_not_finite(site: Site, chance: random.Random) -> str:
    """NaN or infinity in a tensor, under the file's right checksum."""

    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[chance.randrange(tensor.numel())] = float(chance.choice(["nan", "inf"]))
        return tensor

    return _rewrite(site, chance, lambda tensor: tensor.is_floating_point() and tensor.numel() > 0, change)


@mutator("tensors-of-another-value", FORM)
def tensors_of_another_value(site: Site, chance: random.Random) -> str:
    """A tensor has other values, under the file's right checksum."""
    return _rewrite(site, chance, lambda tensor: tensor.numel() > 0, lambda tensor: tensor.flip(0) + 1)


@mutator("tensors-of-another-shape", FORM)
def tensors_of_another_shape(site: Site, chance: random.Random) -> str:
    """A tensor has another shape, under the file's right checksum."""

    def change(tensor: Tensor) -> Tensor:
        others = [tensor[None], tensor.reshape(-1), tensor[:0], torch.cat([tensor, tensor])]
        return chance.choice([other for other in others if other.shape != tensor.shape])

    return _rewrite(site, chance, lambda tensor: tensor.dim() > 0, change)


@mutator("tensors-of-another-type", FORM)
def tensors_of_another_type(site: Site, chance: random.Random) -> str:
    """A tensor is of another type, under the file's right checksum."""

    def change(tensor: Tensor) -> Tensor:
        types = (torch.float64, torch.float16, torch.int64, torch.bool)
        return tensor.to(chance.choice([kind for kind in types if kind != tensor.dtype]))

    return _rewrite(site, chance, lambda _: True, change)


@mutator("flow-saved-with-nan", FORM, "json")
def flow_saved_with_nan(site: Site, chance: random.Random) -> str:
    """The flow that the file belongs to is loaded, given a NaN and saved again: every digest is right."""
    from flowprior import Flow
    from flowprior.errors import FlowpriorError

    if site.flow is None:
        raise NothingToChange
    flow = Flow.load(site.flow)
    tensors = {name: value for name, value in flow.state_dict().items() if value.is_floating_point()}
    name = chance.choice(sorted(tensors))
    tensors[name].view(-1)[0] = float("nan")
    saved = site.scratch / "saved-with-nan"
    try:
        flow.save(saved)
    except FlowpriorError as error:
        raise NothingToChange from error
    shutil.copytree(saved, site.flow, dirs_exist_ok=True)
    return f"flow saved with NaN in {name}"


def _edit_header(site: Site, change: Callable[[dict[str, Any]], str]) -> str:
    data = site.path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    said = change(header)
    text = json.dumps(header).encode()
    site.path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return said


def _edit_entry(site: Site, chance: random.Random, change: Callable[[dict[str, Any]], str]) -> str:
    def edit(header: dict[str, Any]) -> str:
        name = _tensor_name(header, chance)
        return f"{name}: {change(header[name])}"

    return _edit_header(site, edit)


def _tensor_name(header: dict[str, Any], chance: random.Random) -> str:
    return chance.choice(sorted(name for name in header if name != METADATA))


def _rewrite(
    site: Site,
    chance: random.Random,
    wanted: Callable[[Tensor], bool],
    change: Callable[[Tensor], Tensor],
) -> str:
    """Change one tensor and write the file anew, as the package writes it."""
    tensors, metadata = load_tensors(site.path)
    names = sorted(name for name, tensor in tensors.items() if wanted(tensor))
    if not names:
        raise NothingToChange
    name = chance.choice(names)
    before = tensors[name]
    tensors[name] = change(before.clone())
    save_tensors(site.path, tensors, metadata)
    after = tensors[name]
    return f"{name}: {before.dtype}{list(before.shape)} -> {after.dtype}{list(after.shape)}, checksum right"
