"""Choosing metrics: groups, names, options, plug-ins, and what cannot be chosen."""

from __future__ import annotations

import pytest
import torch

import flowprior.evaluation
import flowprior.metrics
from flowprior.data import Data
from flowprior.errors import OptionError, UnknownComponentError
from flowprior.evaluation import MetricInfo, evaluate
from flowprior.features import Classifier
from flowprior.flow import Flow
from flowprior.metrics import Metric, SampleMetric
from flowprior.metrics.base import select
from flowprior.metrics.setup import Drawn, Setup


class Brightness(SampleMetric):
    """Mean of all numbers, a user's own metric."""

    def columns(self, setup: Setup) -> dict[str, MetricInfo]:
        return {"brightness": MetricInfo("mean of all numbers", setup.samples)}

    def values(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
        return {"brightness": drawn.x.mean().item()}


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
    with pytest.raises(
        OptionError, match="none is given; choose of quick, all, accuracy, consistency, coverage, crps"
    ):
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


def test_a_metric_of_the_user_has_a_column_and_a_real_data_score(
    tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier
) -> None:
    found = evaluate(
        tiny_flow,
        digits[0],
        reference=digits[1],
        nfe=[1],
        samples=50,
        metrics=[Brightness(), "accuracy"],
        classifier=classifier,
    )
    assert list(found.quality_metrics) == ["accuracy", "brightness"]
    score = found.real_data_score("brightness")
    x, _ = digits[0].batch(torch.arange(len(digits[0])))
    assert score == pytest.approx(x.mean().item(), abs=0.05)
    assert found.value("brightness", 1) == pytest.approx(score, abs=0.2)


@pytest.mark.parametrize("old", flowprior.metrics.RENAMED)
def test_names_of_the_release_before_still_import_and_warn(old: str) -> None:
    new = flowprior.metrics.RENAMED[old]
    for room in (flowprior.metrics, flowprior.evaluation):
        with pytest.warns(DeprecationWarning, match=old):
            assert getattr(room, old) is getattr(flowprior.metrics, new)


def test_a_metric_of_the_release_before_works_and_warns(tiny_flow: Flow, digits: tuple[Data, Data]) -> None:
    """It says ``figures``, ``floor`` and ``needs_judge`` where it is ``values`` and others now."""
    with pytest.warns(DeprecationWarning, match="metric Old: .* is called .* now") as seen:

        class Old(SampleMetric):
            needs_judge = False
            floor = "none"

            def columns(self, setup: Setup) -> dict[str, MetricInfo]:
                return {"brightness": MetricInfo("mean of all numbers", setup.samples)}

            def figures(self, setup: Setup, drawn: Drawn) -> dict[str, float]:
                return {"brightness": drawn.x.mean().item()}

    assert [str(warning.message).partition(": ")[2] for warning in seen] == [
        "'figures' is called 'values' now",
        "'floor' is called 'real_data' now",
        "'needs_judge' is called 'needs_classifier' now",
    ]
    assert {warning.filename for warning in seen} == {__file__}
    assert (Old.real_data, Old.needs_classifier) == ("none", False)
    old, new = (
        evaluate(
            tiny_flow, digits[0], reference=digits[1], nfe=[1], samples=50, metrics=metric, classifier=None
        )
        for metric in (Old(), Brightness())  # type: ignore[abstract]
    )
    assert old.value("brightness", 1) == new.value("brightness", 1)
    assert old.real_data_score("brightness") is None
