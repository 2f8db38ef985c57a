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


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (["curvatur"], "unknown metric 'curvatur'; did you mean 'curvature'"),
        ([], "none is given; choose of quick, all, accuracy, "),
        ("kid:subsets=0", "kid"),
        ("kid:subset_size=1", "kid"),
    ],
)
def test_what_cannot_be_chosen_is_refused(metrics: str | list[str], words: str) -> None:
    with pytest.raises((OptionError, UnknownComponentError), match=words):
        select(metrics)
