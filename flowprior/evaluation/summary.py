"""Summary: means over seeds of the long table, one row for each metric and way of measuring it.

Every table, figure and page of an evaluation or a study is a grouping of these rows. A row has the keys
``metric``, ``variant`` (label of the flow), ``split``, ``condition``, ``step``, ``sampler``, ``guidance``,
``nfe``, ``adaptive`` (whether the sampler chose its steps), ``samples``, ``features``, ``by_seed`` and the
:class:`Spread` of its values.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any, TypeVar

Row = dict[str, Any]
ADAPTIVE = "adaptive"
"""The entry of the column ``grid`` where the sampler chose its own steps; ``nfe`` is what it spent."""
OWN_NFE = math.inf
"""The place of the number of evaluations that an adaptive sampler chooses itself, after every number."""
SIGNS = {"lower": 1, "higher": -1, "": 0}
"""The better side of a metric -> the sign with which less is better."""
PLACE = ("metric", "flow", "split", "condition", "step", "sampler", "guidance")
"""The columns of the long table by which rows of a summary differ, beside the number of evaluations."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of n values.

    Attributes:
        n: number of values.
        mean: their mean.
        std: their standard deviation, with n − 1; None for a single value.
    """

    n: int
    mean: float
    std: float | None


def grouped(items: Iterable[Item], key: Callable[[Item], Any]) -> dict[Any, list[Item]]:
    """Return the items of each key, in the order of the first one."""
    groups: dict[Any, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def frechet_names(names: Iterable[str]) -> list[str]:
    """Return the metrics that ``"fid"`` stands for: Fréchet distances, but not those within labels."""
    return [name for name in names if name.startswith("fid-") and not name.startswith("fid-within-")]


def spread(values: Sequence[float]) -> Spread:
    """Return mean and deviation of at least one value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(len(values), statistics.fmean(values), deviation)


def means_over_seeds(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return means over seeds of rows of the long table; those without a value do not count.

    An adaptive sampler has one row, whatever it spent on each seed; its ``nfe`` is the mean.
    """
    found = []
    for (*place, nfe), own in grouped((row for row in rows if row["value"] is not None), _place).items():
        by_seed = {row["seed"]: row["value"] for row in own}
        adaptive = nfe == OWN_NFE
        row = dict(zip(PLACE, place, strict=True))
        row |= {name: own[0][name] for name in ("samples", "features")}
        row |= {"nfe": spread([row["nfe"] for row in own]).mean if adaptive else nfe, "adaptive": adaptive}
        row |= {"variant": row.pop("flow"), "by_seed": by_seed}
        found.append(row | asdict(spread(list(by_seed.values()))))
    return found


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    own = row["grid"] == ADAPTIVE and row["nfe"]
    return *(row[name] for name in PLACE), OWN_NFE if own else row["nfe"]


def as_text(row: Row) -> str:
    """Return ``12.34``, or ``12.34 ± 0.56`` over seeds."""
    return f"{row['mean']:.4g}" + ("" if row["std"] is None else f" ± {row['std']:.2g}")


def place_of(row: Row) -> float:
    """Return where a row of a summary stands along the numbers of evaluations."""
    return OWN_NFE if row["adaptive"] else row["nfe"]


def losses_of(rows: Iterable[Row], better: Mapping[str, str]) -> list[Row]:
    """Return where flows are worse than their own prior alone (NFE 0).

    Args:
        rows: of a summary.
        better: metric -> ``"lower"``, ``"higher"`` or ``""``.

    Returns:
        One row for each metric, variant, sampler and guidance; ``nfe`` lists the numbers of evaluations.
    """
    names, found = ("metric", "variant", "sampler", "guidance"), []
    for place, own in grouped(rows, itemgetter(*names)).items():
        sign, means = SIGNS[better.get(place[0], "")], {row["nfe"]: row["mean"] for row in own}
        prior = means.get(0, math.nan)
        worse = sorted(nfe for nfe, mean in means.items() if nfe and sign * mean > sign * prior)
        found += [{**dict(zip(names, place, strict=True)), "nfe": worse}] if worse else []
    return found
