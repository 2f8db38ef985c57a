"""Choosing metrics: groups, names, options, and what cannot be chosen."""

from __future__ import annotations

import pytest

from flowprior.errors import OptionError, UnknownComponentError
from flowprior.metrics import Metric
from flowprior.metrics.base import select


def names(*metrics: str | Metric) -> list[str]:
    return [measure.name for measure in select(list(metrics))]


def test_the_quick_set_is_short_and_all_is_everything() -> None:
    assert names("quick") == ["fid", "kid", "accuracy", "w2"]
    assert set(names("all")) == set(Metric.available())
    assert select("quick")[0].name == "fid"


def test_names_come_once_in_a_fixed_order_and_keep_their_options() -> None:
    assert names("nll", "w2", "fid", "w2") == ["fid", "w2", "nll"]
    assert names("curvature", "quick") == ["fid", "kid", "accuracy", "w2", "curvature"]
    (kid,) = [m for m in select(["quick", "kid:subsets=7"]) if m.name == "kid"]
    assert kid.subsets == 7  # type: ignore[attr-defined]
    assert names("prc") == ["precision-recall"]


def test_what_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(UnknownComponentError, match="unknown metric 'curvatur'; did you mean 'curvature'"):
        select(["curvatur"])
    with pytest.raises(OptionError, match="none is given; choose of quick, all, accuracy, "):
        select([])
    for spec in (
        "kid:subsets=0",
        "kid:subset_size=1",
        "precision-recall:neighbours=0",
        "sliced-w2:directions=0",
    ):
        with pytest.raises(OptionError, match=spec.split(":")[0]):
            select([spec])
    with pytest.raises(OptionError, match="nll"):
        select("nll:count=-1")
