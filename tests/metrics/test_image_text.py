"""Fit of samples to embeddings through evaluate: heads tell right from wrong, CLIP's score, what lacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.couplings import Coupling
from flowprior.data import Data, TensorData
from flowprior.evaluation import Result, evaluate
from flowprior.features import Classifier, contrastive
from flowprior.flow import Flow
from flowprior.metrics import ImageText, image_text
from flowprior.paths import Path
from flowprior.priors import Prior


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "STEPS", 150)


def paired(count: int, seed: int) -> TensorData:
    """Pictures whose three channels are the first numbers of their embedding."""
    generator = torch.Generator().manual_seed(seed)
    cond = torch.rand(count, 6, generator=generator) * 1.6 - 0.8
    x = cond[:, :3, None, None].expand(-1, 3, 4, 4) + 0.05 * torch.randn(count, 3, 4, 4, generator=generator)
    return TensorData(x, cond, name="colours", is_image=True)


def painting(data: Data, *, right: bool) -> Flow:
    """A flow whose samples have the colour of their condition, or of its negative."""
    prior = Prior.create("gaussian").fit(data.batches(), generator=torch.Generator().manual_seed(0))

    def velocity(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        assert cond is not None
        colour = cond[:, :3, None, None] * (1 if right else -1)
        return (colour - x) / (1 - t[:, None, None, None]).clamp_min(0.5)

    return Flow(velocity, prior, Coupling.create("condot"), Path.create("condot"), data.condition)


def evaluated(flow: Flow, data: Data) -> Result:
    return evaluate(
        flow,
        data,
        reference=paired(150, 2),
        nfe=[2],
        samples=120,
        metrics="image-text",
        features=[nn.Flatten()],
    )


def test_samples_of_the_right_colour_score_like_real_pairs_and_others_do_not() -> None:
    data = paired(400, 1)
    right, wrong = (evaluated(painting(data, right=flag), data) for flag in (True, False))
    assert list(right.quality_metrics) == ["pair-cosine-flatten", "pair-top1-flatten"]
    scores = {name: right.real_data_score(name) for name in right.quality_metrics}
    for name, score in scores.items():
        assert score is not None
        assert right.value(name, 2) > 0.8 * score
        assert wrong.value(name, 2) < 0.5 * score
    assert all("not CLIP" in metric.description for metric in right.quality_metrics.values())


def test_one_instance_learns_anew_from_other_data() -> None:
    first, second = paired(200, 1), paired(200, 3)
    second.x = -second.x
    metric = ImageText()
    options: dict[str, Any] = {"reference": paired(100, 2), "nfe": [1], "samples": 60}
    options["features"] = [nn.Flatten()]
    evaluate(painting(first, right=True), first, metrics=metric, **options)
    again = evaluate(painting(second, right=True), second, metrics=metric, **options)
    fresh = evaluate(painting(second, right=True), second, metrics="image-text", **options)
    assert again.value("pair-cosine-flatten", 1) == fresh.value("pair-cosine-flatten", 1)


def test_clips_own_score_is_taken_where_the_embeddings_are_its(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake(nn.Flatten):
        features_name, dim = "clip", 6

        def features(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :6]

        def identity(self) -> str:
            return "clip sha256 " + "0" * 64

    monkeypatch.setattr(image_text, "ClipFeatures", Fake)
    data = paired(60, 1)
    found = evaluate(
        painting(data, right=True), data, reference=paired(50, 2), nfe=[1], samples=40, metrics="image-text",
        features=[Fake()],
    )  # fmt: skip
    assert list(found.quality_metrics) == ["clip-score"]


def test_the_score_is_a_hundred_times_the_positive_cosine() -> None:
    images = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    texts = torch.tensor([[5.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    assert image_text.clip_score(images, texts) == pytest.approx(100 * (1 + 0.5**0.5 + 0) / 3)


def test_labels_have_no_score(tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier) -> None:
    options = {"nfe": [1], "samples": 20, "metrics": "image-text", "classifier": classifier}
    found = evaluate(tiny_flow, digits[0], **options)  # type: ignore[arg-type]
    assert found.quality_metrics == {}
    assert any("image-text left out: it needs embeddings" in note for note in found.notes)
