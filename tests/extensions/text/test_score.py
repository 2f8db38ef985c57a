"""Fit of samples to captions: through evaluate, the ranks by hand, the regression by its closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Parts
from flowprior.couplings import Coupling
from flowprior.data import Data, TensorData
from flowprior.errors import InputError, OptionError
from flowprior.evaluation import Result, evaluate
from flowprior.extensions.text.score import (
    DistinctCaptions,
    ImageText,
    caption_ranks,
    embedded_captions,
    fit_caption_ridge,
    texts_of,
)
from flowprior.features.base import as_extractor
from flowprior.features.classifier import Classifier
from flowprior.flow import Flow
from flowprior.metrics import Setup
from flowprior.metrics.setup import Reference
from flowprior.paths import Path
from flowprior.priors import Prior
from tests.expected_warnings import FEW_REFERENCES

NAMES = ["caption-cosine-flatten", "caption-top1-flatten", "caption-top5-flatten"]


def picture_of(embeddings: Tensor) -> Tensor:
    """Pictures ``[N, 3, 4, 4]`` of embeddings ``[N, 6]``."""
    return embeddings.view(-1, 2, 3).transpose(1, 2).repeat_interleave(2, 2)[:, :, None].expand(-1, -1, 4, -1)


class Colours(TensorData):
    """Pictures whose left and right halves have the colours that their caption's embedding says.

    Args:
        count: of pictures.
        seed: of the embeddings.
        cond: kind of the condition: ``"embeddings"``, ``"parts"`` or ``"labels"`` that say nothing.
        own: pairs that are kept for the score.
    """

    def __init__(
        self, count: int, seed: int, cond: str = "embeddings", own: Data | None = None, sign: int = 1
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.embeddings = torch.rand(count, 6, generator=generator) * 1.6 - 0.8
        x = sign * picture_of(self.embeddings)
        x = x + 0.05 * torch.randn(count, 3, 4, 4, generator=generator)
        labels = torch.arange(count) % 2
        conds: Any = {
            "embeddings": self.embeddings,
            "labels": labels,
            "parts": Parts({"caption": self.embeddings, "style": labels}),
        }
        super().__init__(x, conds[cond], name="colours", is_image=True)
        self.own = own

    def caption_embeddings(self, indices: Tensor) -> Tensor | None:
        if self.condition.kind == "labels":
            return self.embeddings[indices]
        return super().caption_embeddings(indices)

    def scorer_split(self) -> Data | None:
        return self.own


def flow_of(data: Colours, velocity: Callable[[Tensor, Tensor, Any], Tensor]) -> Flow:
    """A flow with this velocity."""
    prior = Prior.create("gaussian").fit(data.batches(), generator=torch.Generator().manual_seed(0))
    return Flow(velocity, prior, Coupling.create("condot"), Path.create("condot"), data.condition)


def painting(data: Colours, *, right: bool) -> Flow:
    """A flow whose samples have the colour of their condition, or of its negative."""

    def velocity(x: Tensor, t: Tensor, cond: Any) -> Tensor:
        colour = picture_of(cond["caption"] if isinstance(cond, Parts) else cond) * (1 if right else -1)
        return (colour - x) / (1 - t[:, None, None, None]).clamp_min(0.5)

    return flow_of(data, velocity)


def evaluated(flow: Flow, data: Colours, kind: str = "embeddings", **options: Any) -> Result:
    options = {"reference": Colours(150, 2, kind), "metrics": "image-text", "samples": 120} | options
    return evaluate(flow, data, nfe=[2], features=[nn.Flatten()], **options)


@pytest.mark.parametrize("kind", ["embeddings", "parts"])
def test_samples_of_the_right_colour_score_like_real_pairs_and_others_do_not(kind: str) -> None:
    data = Colours(400, 1, kind)
    right, wrong = (evaluated(painting(data, right=flag), data, kind) for flag in (True, False))
    assert list(right.quality_metrics) == NAMES
    for name, metric in right.quality_metrics.items():
        score = right.real_data_score(name) or 0
        assert score > 0.4
        assert wrong.value(name, 2) < 0.1 * score
        assert right.value(name, 2) > 0.8 * score
        assert "learned from 400 images of 400 captions of the training split" in metric.description
        assert ("150 captions" in metric.description) == ("top" in name), "fewer where there are fewer"


def test_samples_are_compared_with_the_captions_of_the_rows_whose_labels_they_were_given() -> None:
    """Two labels say nothing of the caption; real pictures in the samples' place still find theirs."""
    data, test = Colours(400, 1, "labels"), Colours(150, 2, "labels")
    flow = flow_of(data, lambda x, t, cond: -x)
    found = evaluated(flow, data, reference=test, classifier="none")
    assert (found.real_data_score("caption-top1-flatten") or 0) > 0.4
    assert found.value("caption-top1-flatten", 2) < 0.1
    with pytest.raises(OptionError, match="conditions='reference'"):
        evaluated(flow, data, reference=test, classifier="none", conditions="balanced")


def test_pairs_that_are_kept_for_the_score_are_learned_from_and_no_others() -> None:
    """The training split's pictures have the negative colours: to learn from them would be wrong."""
    data = Colours(300, 1, own=Colours(200, 5), sign=-1)
    found = evaluated(painting(data, right=True), data)
    assert found.value("caption-top5-flatten", 2) > 0.6
    assert all("200 captions that no flow sees" in m.description for m in found.quality_metrics.values())


def test_one_instance_learns_anew_from_other_data() -> None:
    first, second, metric = Colours(200, 1), Colours(200, 3, sign=-1), ImageText()
    evaluated(painting(first, right=True), first, metrics=metric)
    again, fresh = (
        evaluated(painting(second, right=True), second, metrics=m) for m in (metric, "image-text")
    )
    assert [again.value(name, 2) for name in NAMES] == [fresh.value(name, 2) for name in NAMES]
    assert again.value(NAMES[0], 2) < 0, "what was learned are the negative colours"


def test_other_captions_are_another_value() -> None:
    """A store must not give the values of other captions back."""
    data, test = Colours(100, 1), Colours(50, 2, "labels")
    splits, features = (Reference(data, "training"), Reference(test, "test")), [as_extractor(nn.Flatten())]
    flow: Any = None  # it is not asked
    first = ImageText().columns(Setup(flow, *splits, 40, 0, None, features))
    test.captions = [f"colour {number}" for number in range(50)]
    second = ImageText().columns(Setup(flow, *splits, 40, 0, None, features))
    assert list(first) == list(second) == NAMES
    assert first != second


@FEW_REFERENCES
def test_embeddings_of_two_encoders_are_not_compared() -> None:
    data, test = Colours(100, 1), Colours(50, 2)
    data.text_encoder_identity, test.text_encoder_identity = "one", "other"
    with pytest.raises(OptionError, match="by one text encoder"):
        evaluated(painting(data, right=True), data, reference=test)


def test_without_features_there_is_no_score(
    tiny_flow: Flow, digits: tuple[Data, Data], classifier: Classifier
) -> None:
    options = {"nfe": [1], "samples": 20, "metrics": "image-text", "classifier": classifier}
    with pytest.raises(OptionError, match=r"image-text needs features of images: pass some \(--features\)"):
        evaluate(tiny_flow, digits[0], **options)  # type: ignore[arg-type]


# -- ranks of captions ----------------------------------------------------------------------------


OTHERS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


@pytest.mark.parametrize(
    ("images", "own", "numbers", "ranks"),
    [
        ([[2.0, 0.1], [0.9, 1.0], [1.0, 0.9]], OTHERS[[0, 0, 2]], [0, 0, 2], [0, 1, 2]),
        ([[-1.0, -0.5]], torch.tensor([[0.0, -1.0]]), [7], [0]),
        ([[-1.0, -0.5]], torch.tensor([[0.0, -1.0]]), [0], [1]),
        ([[0.0, 0.0]] * 3, OTHERS, [0, 1, 2], [2, 2, 2]),
    ],
    ids=["nearer", "none of the others, in the last's place", "in the first's place", "all alike"],
)
def test_the_rank_counts_the_captions_that_are_nearer(images, own, numbers, ranks) -> None:
    assert caption_ranks(torch.tensor(images), own, torch.tensor(numbers), OTHERS).tolist() == ranks


def test_different_captions_keep_their_order_whatever_the_order_of_events() -> None:
    captions = ["cat", "dog", "cat", "a 猫", ""]
    data = TensorData(torch.zeros(5, 1))
    one, other = DistinctCaptions(data, captions), DistinctCaptions(data, captions[::-1])
    for found, texts in ((one, captions), (other, captions[::-1])):
        assert [texts[found.first[number]] for number in found.numbers] == texts
        assert [texts[place] for place in found.first] == [captions[place] for place in one.first]
    assert (len(one), one.first.tolist().count(0)) == (4, 1), "the first event of a caption stands for it"
    assert one.digest != other.digest
    data = TensorData(torch.zeros(3, 1), torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]))
    found = DistinctCaptions(data, embedded_captions(data, torch.arange(3)))
    assert found.numbers[0] == found.numbers[2] != found.numbers[1], "embeddings differ by their numbers"


def test_texts_are_captions_or_the_names_of_classes() -> None:
    x, labels = torch.zeros(3, 3, 2, 2), torch.tensor([1, 0, 1])
    data = TensorData(x, labels, class_names=["boat", "ship"])
    assert texts_of(data) == ["a photo of a ship", "a photo of a boat", "a photo of a ship"]
    data.captions = ["a", "b", "c"]
    assert texts_of(data) == ["a", "b", "c"]
    assert texts_of(TensorData(x, labels)) is None
    assert texts_of(TensorData(x)) is None


def test_captions_that_are_equally_near_count_as_nearer_whatever_is_rounded() -> None:
    """Fifty equal captions, and pictures for which the cosine is rounded in every way."""
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(384, generator=generator).expand(50, -1)
    images = torch.randn(200, 384, generator=generator)
    numbers = torch.arange(200) % 50
    assert caption_ranks(images, others[numbers], numbers, others).tolist() == [49] * 200


# -- the regression to captions -------------------------------------------------------------------


def pairs(count: int = 120, captions: int = 30, noise: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """Four pictures of each caption, whose features follow from its embedding by a fixed map with noise."""
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(captions, 6, generator=generator)
    numbers = torch.arange(count) % captions
    mix = torch.randn(6, 20, generator=generator)
    features = table[numbers] @ mix + noise * torch.randn(count, 20, generator=generator) + 5
    return features, table[numbers], numbers


def test_predictions_are_those_of_the_normal_equations() -> None:
    features, embeddings, numbers = pairs()
    ridge = fit_caption_ridge(features, embeddings, numbers)
    y = embeddings.double() / embeddings.double().norm(dim=1, keepdim=True)
    x, y = features.double() - features.double().mean(0), y - y.mean(0)
    penalty = ridge.strength * x.square().sum(1).mean() * torch.eye(20, dtype=torch.float64)
    expected = x @ torch.linalg.inv(x.T @ x + penalty) @ x.T @ y
    torch.testing.assert_close(ridge.predict(features), expected, rtol=1e-6, atol=1e-8)


def test_new_captions_are_predicted_and_mismatches_are_not() -> None:
    features, embeddings, numbers = pairs(count=400, captions=200)
    ridge = fit_caption_ridge(features[:150], embeddings[:150], numbers[:150])
    for shift, low, high in ((0, 0.8, 1), (1, -0.3, 0.3)):
        true = ridge.centre(embeddings[150:200].roll(shift, 0))
        assert low < torch.cosine_similarity(ridge.predict(features[150:200]), true, dim=1).mean() < high


def test_the_strength_is_chosen_on_captions_that_are_left_out() -> None:
    """Pictures of a caption share its noise: where others of it are learned from, noise looks like truth."""
    features, embeddings, _ = pairs(count=30, noise=10.0)
    rows, each_alone = torch.arange(120) % 30, torch.randperm(120, generator=torch.Generator().manual_seed(0))
    by_caption, by_picture = (
        fit_caption_ridge(features[rows], embeddings[rows], numbers).strength
        for numbers in (rows, each_alone)
    )
    assert by_picture < by_caption


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="two different captions"):
        fit_caption_ridge(torch.zeros(4, 3), torch.ones(4, 2), torch.zeros(4))
