"""Finished values on disk, so that an evaluation goes on where it stopped.

One JSON file for each setting (flow, data, seed, sampler, guidance, NFE), named by it and by a digest of it.
It holds values with what each of them is: one is read again only where that is still what is asked for.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import table_row
from flowprior.flow import Flow
from flowprior.metrics.base import MetricInfo
from flowprior.processes.group import Group
from flowprior.registry.registry import spec_of
from flowprior.storage.digests import module_description, settings_digest, signed, tensors_digest, unsigned
from flowprior.storage.reading import read_json
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import write_json

FORMAT = 3
LIMIT = 64 << 20
"""Longest file that is read, in bytes."""


Columns = Mapping[Any, Mapping[str, MetricInfo]]
"""Metric -> what each of its values is, by name."""


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

    def complete(self, columns: Columns, compute: Callable[..., Mapping[str, float]]) -> bool:
        """Compute and keep the values that are missing, or that are not what is asked for now.

        Args:
            columns: what is asked for.
            compute: gives the values of a metric.

        Returns:
            True if there was anything to compute.
        """
        missing = [
            metric
            for metric, infos in columns.items()
            if any(self.metrics.get(name) != info for name, info in infos.items())
        ]
        for metric in missing:
            kept = {name: value for name, value in self.values.items() if name not in columns[metric]}
            self.values = kept | dict(compute(metric))
            self.metrics |= columns[metric]
            self.write()
        return bool(missing)

    def rows(self, columns: Columns, **terms: Any) -> Iterator[dict[str, Any]]:
        """Yield a row of the long table for each of these values, and for its deviation (``…-std``)."""
        for infos in columns.values():
            for name, info in infos.items():
                for key in (name, f"{name}-std"):
                    if key in self.values:
                        yield table_row(key, self.values[key], info, **terms)

    def write(self) -> None:
        """Keep the values in their file; where it cannot be written, warn and go on."""
        if self.path is None:
            return
        try:
            values = {"format": FORMAT, **asdict(self)}
            del values["path"]
            # Once through JSON, so that the digest is of what will be read.
            write_json(self.path, signed(json.loads(json.dumps(values))), indent=1)
        except CheckpointError as error:
            message = f"values are not kept in {self.path.parent}: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)


class Store:
    """The files of finished values.

    Args:
        folder: where they lie; None keeps nothing.
        processes: those that ask for the same values in turn; the first one reads and writes.
    """

    def __init__(self, folder: Path | str | None, processes: Group | None = None) -> None:
        self.folder = None if folder is None else expanded(folder)
        self.processes = processes or Group()

    def read(self, name: str, settings: Mapping[str, Any]) -> Entry:
        """Return the entry of ``settings``, empty where there is none.

        Args:
            name: the beginning of the file's name.
            settings: what decides the values.
        """
        if self.folder is None:
            return Entry(settings)
        path = self.folder / f"{name}-{settings_digest(settings)[:12]}.json"
        first = self.processes.of_each(_found(path, settings) or Entry(settings, path))[0]
        return replace(first, path=None) if self.processes.rank else first


def _found(path: Path, settings: Mapping[str, Any]) -> Entry | None:
    """Return the entry of ``settings`` in a file; None, with a warning, where the file is damaged."""
    try:
        if path.is_file() and (found := _read(path)).settings == settings:
            return found
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        warnings.warn(f"values in {path} are computed anew: {error!r}", RuntimeWarning, stacklevel=2)
    return None


def _read(path: Path) -> Entry:
    """Return the entry in a file."""
    found = read_json(path, LIMIT)
    if found["format"] != FORMAT:
        raise ValueError(f"its format is {found['format']}, not {FORMAT}")
    found = unsigned(found, path)
    metrics = {name: MetricInfo.from_dict(info) for name, info in found["metrics"].items()}
    return Entry(found["settings"], path, dict(found["facts"]), dict(found["values"]), metrics)


def flow_digest(flow: Flow) -> str | None:
    """Return a sha256 over weights, prior and what the parts are; None where one of them has no name.

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
