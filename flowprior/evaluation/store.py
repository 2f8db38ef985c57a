"""Finished values on disk, so that an evaluation goes on where it stopped.

One JSON file for each setting (flow, data, seed, sampler, guidance, NFE), named by it and by a digest of it.
It holds values with what each of them is: one is read again only where that is still what is asked for.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import table_row
from flowprior.flow import Flow
from flowprior.metrics.base import MetricInfo
from flowprior.registry import spec_of
from flowprior.storage import read_json, signed, unsigned, write_json
from flowprior.storage.digests import module_description, settings_digest, tensors_digest
from flowprior.storage.user_paths import expanded

FORMAT = 3
LIMIT = 64 << 20
"""Longest file that is read, in bytes."""


@dataclass
class Entry:
    """Values of one setting.

    Attributes:
        settings: what decides the values; None where it cannot be named, so that they are not kept.
        path: the file that keeps them; None where they are not kept.
        facts: what else came of it, such as the evaluations spent.
        values: by name.
        metrics: what each value is, also of those that came out empty.
    """

    settings: Mapping[str, Any] | None
    path: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, MetricInfo] = field(default_factory=dict)

    def has(self, columns: Mapping[str, MetricInfo]) -> bool:
        """Whether it holds just these values."""
        return all(self.metrics.get(name) == info for name, info in columns.items())

    def add(self, values: Mapping[str, float], columns: Mapping[str, MetricInfo]) -> None:
        """Put in values and what they are, in the place of others of that name."""
        for name in columns:
            self.values.pop(name, None)
        self.values |= values
        self.metrics |= columns

    def rows(self, columns: Mapping[str, MetricInfo], **terms: Any) -> Iterator[dict[str, Any]]:
        """A row of the long table for each of these values, and for its deviation (``…-std``)."""
        for name, info in columns.items():
            for key in (name, f"{name}-std"):
                if key in self.values:
                    yield table_row(key, self.values[key], info, **terms)


class Store:
    """Reads and writes entries.

    Args:
        folder: where the files lie; None keeps nothing.
    """

    def __init__(self, folder: Path | str | None) -> None:
        self.folder = None if folder is None else expanded(folder)
        self._warned = False

    def read(self, name: str, settings: Mapping[str, Any] | None) -> Entry:
        """The entry of ``settings``, empty where there is none; ``name`` begins the file's name."""
        if self.folder is None or settings is None:
            return Entry(settings)
        path = self.folder / f"{name}-{settings_digest(settings)[:12]}.json"
        try:
            if path.is_file() and (found := _read(path)).settings == settings:
                return found
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            warnings.warn(f"values in {path} are computed anew: {error!r}", RuntimeWarning, stacklevel=2)
        return Entry(settings, path)

    def write(self, entry: Entry) -> None:
        """Keep an entry; where the folder cannot be written, warn once and go on."""
        if entry.path is None:
            return
        try:
            values = {"format": FORMAT, **asdict(entry)}
            del values["path"]
            # Once through JSON, so that the digest is of what will be read.
            write_json(entry.path, signed(json.loads(json.dumps(values))), indent=1)
        except CheckpointError as error:
            if not self._warned:
                warnings.warn(f"values are not kept in {self.folder}: {error}", RuntimeWarning, stacklevel=2)
            self._warned = True


def _read(path: Path) -> Entry:
    """The entry of a file."""
    found = read_json(path, LIMIT)
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']}, not {FORMAT}")
    found = unsigned(found, path)
    metrics = {name: MetricInfo.from_dict(info) for name, info in found["metrics"].items()}
    return Entry(found["settings"], path, dict(found["facts"]), dict(found["values"]), metrics)


def flow_digest(flow: Flow) -> str | None:
    """sha256 over weights, prior and what the parts are; None where one of them cannot be told from others.

    That is a model that is a plain function, or a coupling or path that no name leads back to.
    """
    if not isinstance(flow.model, nn.Module):
        return None
    parts = {"prior": flow.prior, "coupling": flow.coupling, "path": flow.path}
    try:
        unnamed: dict[str, Any] = {
            name: spec_of(part.registry, part) for name, part in parts.items() if not flow.specs[name]
        }
    except CheckpointError:
        return None
    if not flow.specs["model"]:
        unnamed["model"] = module_description(flow.model)
    tensors = {name: value for name, value in flow.state_dict().items() if isinstance(value, Tensor)}
    described = {
        **flow.specs,
        "prediction": flow.prediction,
        **({} if flow.encoder is None else {"encoder": flow.encoder.identity()}),
        "classes": [type(part).__qualname__ for part in (flow.model, *parts.values())],
    }
    return settings_digest({"tensors": tensors_digest(tensors), **described, **unnamed})
