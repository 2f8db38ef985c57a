"""What is read off the study of kinds of prior: each at the pairing that held-out pictures prefer."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

from benchmarks.studies.alike import means
from flowprior.study.table import DataFrame

QUALITY = ("fid-cnn128", "fid-lite0")
NEAREST = ("nearest-q05", "nearest-q50")


def planned() -> int:
    """How many settings the study has."""
    return len(tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["variants"])


def kind_of(setting: str) -> str:
    """The kind of prior of a setting, which is called after it and its pairing."""
    return setting.rsplit("+", 1)[0]


def chosen(table: DataFrame, metric: str = QUALITY[0]) -> DataFrame:
    """The setting of each kind with the least mean on the validation split: kinds by evaluations."""
    found = means(table, metric, split="validation")
    return found.groupby(kind_of, sort=False).idxmin()


def at_own_pairing(table: DataFrame, metric: str, by: str = QUALITY[0]) -> DataFrame:
    """Means on the test split of the settings of :func:`chosen`: kinds by numbers of evaluations."""
    own, values = chosen(table, by), means(table, metric)
    return own.apply(lambda settings: [values.loc[setting, settings.name] for setting in settings])


def leaders(found: Mapping[str, DataFrame]) -> str:
    """Sentences that say which kind is best at which number of evaluations, by each metric.

    Args:
        found: metric -> kinds by numbers of evaluations.
    """
    said = []
    for metric in QUALITY:
        best = found[metric].idxmin()
        said.append(f"by {metric} " + ", ".join(f"{best[nfe]} at {nfe}" for nfe in best.index if nfe))
    return f"Best kind: {'; '.join(said)} evaluations."
