"""Finished figures on disk, so that an evaluation goes on where it stopped.

One JSON file for each setting (flow, data, seed, sampler, guidance, NFE), named by it and by a digest of it.
It holds figures with what each of them is: one is read again only where that is still what is asked for.
Files are written whole, beside the old one, and renamed into place.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.metrics.base import MetricInfo
from flowprior.storage import read_json, signed, unsigned, write_json
from flowprior.storage.binding import DIGEST
from flowprior.storage.digests import settings_digest

FORMAT = 2
"""Holds a digest of itself. Format 1 is the same without one."""
LIMIT = 64 << 20
"""Longest file that is read, in bytes."""


@dataclass
class Entry:
    """Figures of one setting.

    Attributes:
        settings: what decides them; None where it cannot be named, so that they are not kept.
        facts: what else came of it, such as the evaluations spent.
        figures: by name.
        metrics: what each figure is, also of those that came out empty.
    """

    settings: Mapping[str, Any] | None
    facts: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, MetricInfo] = field(default_factory=dict)

    def has(self, columns: Mapping[str, MetricInfo]) -> bool:
        """Whether it holds just these figures."""
        return all(self.metrics.get(name) == _bare(metric) for name, metric in columns.items())

    def add(self, figures: Mapping[str, float], columns: Mapping[str, MetricInfo]) -> None:
        """Put in figures and what they are, in the place of others of that name."""
        for name in columns:
            self.figures.pop(name, None)
        self.figures |= figures
        self.metrics |= {name: _bare(metric) for name, metric in columns.items()}

    def select(self, names: Iterable[str]) -> dict[str, float]:
        """The figures of these names, each followed by its spread (``…-std``) where there is one."""
        wanted = [key for name in names for key in (name, f"{name}-std")]
        return {key: self.figures[key] for key in wanted if key in self.figures}


class FigureStore:
    """Reads and writes entries.

    Args:
        folder: where the files lie; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._warned = False

    def read(self, name: str, settings: Mapping[str, Any] | None) -> Entry:
        """The entry of ``settings``, empty where there is none; ``name`` begins the file's name."""
        path = self._path(name, settings)
        if path is None or not path.is_file():
            return Entry(settings)
        try:
            found = read_json(path, LIMIT)
            if found["format"] == FORMAT:
                found = unsigned(found, path)
            elif found["format"] != 1 or DIGEST in found:
                return Entry(settings)
            metrics = {key: MetricInfo.from_dict(metric) for key, metric in found["metrics"].items()}
            if found["settings"] != settings:
                return Entry(settings)
            return Entry(settings, dict(found["facts"]), dict(found["figures"]), metrics)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            warnings.warn(f"figures in {path} are computed anew: {error!r}", RuntimeWarning, stacklevel=2)
            return Entry(settings)

    def write(self, name: str, entry: Entry) -> None:
        """Keep an entry; where the folder cannot be written, warn once and go on."""
        path = self._path(name, entry.settings)
        if path is None:
            return
        try:
            # Once through JSON, so that the digest is of what will be read.
            values = json.loads(json.dumps({"format": FORMAT, **asdict(entry)}))
            write_json(path, signed(values), indent=1)
        except CheckpointError as error:
            if not self._warned:
                warnings.warn(f"figures are not kept in {self.folder}: {error}", RuntimeWarning, stacklevel=2)
            self._warned = True

    def _path(self, name: str, settings: Mapping[str, Any] | None) -> Path | None:
        if self.folder is None or settings is None:
            return None
        return self.folder / f"{name}-{settings_digest(settings)[:12]}.json"


def _bare(metric: MetricInfo) -> MetricInfo:
    return replace(metric, real_data_score=None)
