"""Each rule of ``--prior auto`` speaks on data made for it, and not on data made for another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from flowprior.conditions import TokenStates
from flowprior.couplings import Coupling
from flowprior.data import Data, TensorData
from flowprior.errors import InputError
from flowprior.inspection import Choice, choice, choose_design
from flowprior.inspection.choice import BLIND, CAPTIONS, FEW, FULL, LATENT, LINEAR, NETWORK, NORMAL, PICTURES
from flowprior.inspection.comparison import Comparison
from flowprior.priors import Prior


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clouds(each: int, labels: int = 2, correlation: float = 0.0) -> TensorData:
    """Gaussians of two correlated numbers, ten deviations apart."""
    x = normal(each * labels, 2)
    x[:, 1] = correlation * x[:, 0] + math.sqrt(1 - correlation**2) * x[:, 1]
    label = torch.arange(len(x)) % labels
    return TensorData(x + 10.0 * label[:, None], label, classes=labels)


def ring(count: int, labels: bool) -> TensorData:
    """Points of a thin ring; the label is the half that they lie in."""
    angle = 2 * math.pi * torch.rand(count, generator=torch.Generator().manual_seed(0))
    x = torch.stack([angle.cos(), angle.sin()], 1) + 0.05 * normal(count, 2)
    return TensorData(x, (angle > math.pi).long() if labels else None, classes=2 if labels else None)


def foretold(count: int, law: str) -> TensorData:
    """Three numbers that follow from the condition in a line or in waves, or not at all; and noise."""
    cond = 2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) - 1
    slopes = normal(2, 3, seed=1)
    mean = {"line": 3 * cond @ slopes, "waves": 3 * (6 * cond[:, :1] + torch.arange(3)).cos(), "no": 0}[law]
    return TensorData(mean + 0.2 * normal(count, 3, seed=2), cond)


def pictures(count: int, cond: Tensor) -> TensorData:
    return TensorData(normal(count, 1, 4, 4).clamp(-1, 1), cond, is_image=True)


def chosen(data: Data) -> tuple[str, str]:
    found = choose_design(data)
    return found.prior, found.coupling


def test_labels_that_are_gaussians_get_gaussians() -> None:
    assert chosen(clouds(each=600)) == ("gmm", "ot")


@pytest.mark.slow
def test_a_covariance_is_full_where_the_coordinates_go_together() -> None:
    assert chosen(clouds(each=600, correlation=0.97)) == ("gmm:covariance=full", "ot")


def few_rows() -> TensorData:
    """Ten rows of thirty numbers for each of six labels, which tell a mean and little else."""
    label = torch.arange(60) % 6
    return TensorData(normal(60, 30) + 2.0 * normal(6, 1, seed=1)[label], label, classes=6)


@pytest.mark.slow
def test_few_rows_of_many_numbers_borrow() -> None:
    assert chosen(few_rows()) == (FEW, "ot")


@pytest.mark.slow
def test_labels_that_say_nothing_leave_the_source_at_the_normal() -> None:
    label = torch.arange(60) % 6
    assert chosen(TensorData(normal(60, 20), label, classes=6)) == (NORMAL, "ot")


@pytest.mark.slow
def test_points_without_labels_get_several_gaussians_where_they_lie_in_several_clouds() -> None:
    x = 0.3 * normal(800, 2) + 4.0 * (torch.arange(800) % 8 // 2 - 1.5)[:, None]
    assert chosen(TensorData(x)) == ("gmm:components=8", "ot")


@pytest.fixture(scope="module")
def of_ring() -> Choice:
    return choose_design(ring(800, labels=True))


@pytest.mark.slow
def test_a_law_that_is_no_gaussian_gets_the_latent_mixture(of_ring: Choice) -> None:
    assert (of_ring.prior, of_ring.coupling) == (LATENT, "posterior")


@pytest.mark.slow
def test_a_skewed_law_of_few_rows_and_many_numbers_keeps_its_full_gaussian() -> None:
    label = torch.arange(300) % 2
    x = (0.4 * normal(300, 24) @ normal(24, 24, seed=1) / 5).exp() + label[:, None]
    prior, coupling = chosen(TensorData(x, label, classes=2))
    assert prior in (FULL, "gmm:covariance=full")
    assert coupling == "ot"


@pytest.mark.parametrize(("ahead", "design"), [(1.5, ("gmm", "ot")), (2.5, (LATENT, "posterior"))])
def test_the_latent_mixture_must_be_ahead_by_two_errors(
    ahead: float, design: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = normal(200).double()
    gain = (noise - noise.mean()) / noise.std() + ahead * math.sqrt(1 / 200 + 1 / 800)
    specs = (NORMAL, FEW, "gmm", FULL, "gmm:covariance=full")
    scores = {spec: torch.full((200,), 9.0 if spec == NORMAL else 8.0).double() for spec in specs}
    scores["gmm"] = scores["gmm"] - 0.5
    found = Comparison(scores | {LATENT: scores["gmm"] - gain}, fitted=800)
    monkeypatch.setattr(choice, "compare_priors", lambda *_: found)
    assert chosen(clouds(each=10)) == design


class Told:
    """A pilot that says what it is told, and notes what it is asked."""

    def __init__(self, *distances: float | None) -> None:
        self.distances = distances
        self.designs: list[tuple[str, str]] = []

    def __call__(self, designs: Sequence[tuple[str, str]], data: Data, seed: int) -> Comparison:
        self.designs = list(designs)
        known = zip(designs, self.distances, strict=True)
        found = {" + ".join(design): at for design, at in known if at is not None}
        return Comparison({name: torch.full((5,), at).double() for name, at in found.items()}, fitted=20)


WIDE = "gmm:covariance=full"
DESIGNS = [(NORMAL, "condot"), (NORMAL, "ot"), ("gmm", "ot"), (WIDE, "ot"), (LATENT, "posterior")]


SHORT = "after a short training"


@pytest.mark.parametrize(
    ("distances", "best", "told"),
    [
        ((0.3, 0.25, 0.2, 0.125, 0.1), 4, f"0.1 {SHORT}, 0.125 of {WIDE} + ot, 0.3 of N(0, I) + condot"),
        ((0.1, 0.25, 0.2, 0.15, 0.3), 0, f"0.1 {SHORT}, 0.15 of {WIDE} + ot"),
        ((0.2, 0.25, 0.1, 0.3, 0.3), 2, f"0.1 {SHORT}, 0.2 of gaussian + condot"),
        ((None, 0.25, None, None, 0.3), 1, f"0.25 {SHORT}, 0.3 of latent-gmm + posterior"),
        ((None, None, None, None, 0.3), 4, f"0.3 {SHORT}"),
    ],
)
def test_of_many_points_what_comes_nearest_in_short_trainings_is_taken(
    distances: tuple[float | None, ...], best: int, told: str
) -> None:
    pilot = Told(*distances)
    found = choose_design(clouds(each=1000), pilot)
    assert pilot.designs == DESIGNS
    assert (found.prior, found.coupling) == DESIGNS[best]
    assert found.reason == f"{found.prior} + {found.coupling}: sliced W2² {told}"


def test_without_labels_several_gaussians_are_tried_and_of_many_numbers_none_is_full() -> None:
    x = 0.3 * normal(2000, 2) + 4.0 * (torch.arange(2000) % 8 // 2 - 1.5)[:, None]
    pilot = Told(0.3, 0.3, 0.1, 0.3, 0.3)
    assert choose_design(TensorData(x), pilot).prior == "gmm:components=8"
    assert pilot.designs[3] == (WIDE, "ot")
    wide = Told(0.3, 0.3, 0.1, 0.3)
    choose_design(TensorData(normal(2000, 65), torch.arange(2000) % 2, classes=2), wide)
    assert [prior for prior, _ in wide.designs] == [NORMAL, NORMAL, FEW, LATENT]


@pytest.mark.slow
def test_many_points_need_short_trainings_and_fewer_do_not_ask() -> None:
    with pytest.raises(InputError, match=r"pilot=flowprior\.training\.compare_flows"):
        choose_design(clouds(each=1000))
    pilot = Told()
    assert choose_design(clouds(each=999), pilot) == choose_design(clouds(each=999))
    assert not pilot.designs


def test_pictures_of_labels_get_the_latent_mixture_and_few_of_them_gaussians() -> None:
    assert chosen(pictures(200, torch.arange(200) % 2)) == (LATENT, "posterior")
    assert chosen(pictures(60, torch.arange(60) % 2)) == (FEW, "ot")


def test_captions_that_repeat_get_the_mean_of_their_other_pictures() -> None:
    embeddings = normal(20, 6)
    assert chosen(pictures(80, embeddings.repeat_interleave(4, 0))) == (CAPTIONS, "leave-one-out")


def test_pictures_under_pictures_get_a_mean_and_variances() -> None:
    assert chosen(pictures(40, normal(40, 1, 2, 2))) == (PICTURES, "condot")


@pytest.mark.slow
@pytest.mark.parametrize(("law", "prior"), [("line", LINEAR), ("waves", NETWORK)])
def test_numbers_get_the_mapper_that_foretells_held_out_events_best(law: str, prior: str) -> None:
    assert chosen(foretold(800, law)) == (prior, "posterior")


@pytest.mark.slow
def test_numbers_that_foretell_nothing_are_not_asked() -> None:
    assert chosen(foretold(200, "no")) == (BLIND, "ot")


@pytest.mark.slow
def test_the_lines_say_what_was_measured(of_ring: Choice) -> None:
    assert of_ring.data == "data: 800 examples of shape 2 under 2 labels"
    assert of_ring.reason.startswith("latent-gmm + posterior: energy score")
    assert "\n" not in of_ring.reason


@pytest.mark.slow
def test_it_is_the_same_again_and_every_part_can_be_built() -> None:
    found = choose_design(clouds(each=100))
    assert found == choose_design(clouds(each=100))
    Coupling.registry.resolve(found.coupling).check(Prior.registry.resolve(found.prior))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TensorData(normal(5, 2)), "5 examples"),
        (TensorData(normal(12, 2), torch.arange(12), classes=12), "no label of"),
        (TensorData(normal(40, 2), TokenStates(normal(40, 3, 4), torch.ones(40, 3).bool())), "token states"),
    ],
)
def test_data_that_no_rule_serves_are_refused_in_one_line(data: Data, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        choose_design(data)
    assert str(caught.value).startswith("prior 'auto': ")
    assert "\n" not in str(caught.value)
