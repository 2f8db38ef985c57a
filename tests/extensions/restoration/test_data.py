"""Pictures to be restored: what is left of them, what is observed, several samples of one condition."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from flowprior import Flow, evaluate, train
from flowprior.conditions import Condition, Parts
from flowprior.data import Data, TensorData, load_data
from flowprior.data.splits import draw_indices, split_validation
from flowprior.errors import OptionError
from flowprior.extensions.restoration.data import HiddenRectangle, LowResolution, Restoration
from flowprior.extensions.restoration.metrics import consistency, psnr, ssim
from flowprior.metrics import crps
from flowprior.metrics.ensembles import spread_skill_ratio
from tests.extensions.conftest import refused

X = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
DATA = TensorData(X, torch.arange(40) % 4, is_image=True, class_names=list("abcd"))
SOME = torch.tensor([3, 1, 7])


def test_low_resolution_is_the_mean_of_squares():
    data = Restoration(DATA, LowResolution(4))
    x, cond = data.batch(SOME)
    assert (data.condition, data.class_names) == (Condition.of_shape((1, 2, 2)), None)
    assert torch.equal(x, X[SOME])
    assert torch.equal(cond, avg_pool2d(X[SOME], 4))


def test_what_is_hidden_is_a_rectangle_that_stays_where_it_is():
    data = Restoration(DATA, HiddenRectangle(0.5, seed=3))
    x, cond = data.batch(torch.arange(40))
    picture, known = cond[:, :1], cond[:, 1:] > 0
    assert data.condition == Condition.of_shape((2, 8, 8))
    assert (~known).flatten(1).sum(1).tolist() == [16] * 40
    assert torch.equal(picture, x * known)
    assert len({tuple(mask.flatten().tolist()) for mask in known}) > 5
    assert torch.equal(data.batch(SOME)[1], cond[SOME])
    other = Restoration(DATA, HiddenRectangle(0.5, seed=4)).batch(torch.arange(40))[1]
    assert not torch.equal(other, cond)
    expected, found = data.observation.of(torch.where(known, x, 5.0), cond)
    assert torch.allclose(expected, found), "what is hidden does not count"


@pytest.mark.parametrize("task", [LowResolution(2), HiddenRectangle(0.4, seed=0)])
def test_the_original_agrees_with_its_observation_and_another_picture_does_not(task):
    data, _ = split_validation(Restoration(DATA, task), 8)
    x, cond = data.batch(torch.arange(32))
    assert torch.allclose(*data.observation.of(x, cond))
    expected, found = data.observation.of(x.flip(0), cond)
    assert (expected - found).abs().mean() > 0.1


def test_label_and_picture_go_together():
    data = Restoration(DATA, LowResolution(2), with_label=True)
    _, cond = data.batch(SOME)
    assert isinstance(cond, Parts)
    assert cond["label"].tolist() == [3, 1, 3]
    assert (data.condition.names, data.label_names) == (("label", "picture"), {"label": list("abcd")})


@pytest.mark.parametrize("of", ["emoji", "emoji:captions=unseen"])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(("task", "shape"), [("super-resolution", (3, 8, 8)), ("inpainting", (4, 32, 32))])
def test_emoji_are_restored_in_colour_on_the_splits_of_their_own(of, split, task, shape):
    own, data = load_data(of, split), load_data(f"restoration:of={of},task={task}", split)
    x, cond = data.batch(SOME)
    assert len(data) == len(own)
    assert torch.equal(x, own.batch(SOME)[0])
    assert (data.condition, cond.shape) == (Condition.of_shape(shape), (3, *shape))
    assert (cond[:, :3].amax(1) > cond[:, :3].amin(1)).any(), "not grey"


def test_drawings_that_look_alike_are_held_out_together():
    emoji, data = load_data("emoji"), load_data("restoration:of=emoji")
    assert emoji.groups is None, "a caption's embedding does not show the picture"
    kept, held = split_validation(data, 500)
    assert set(kept.groups.tolist()).isdisjoint(held.groups.tolist())
    group = dict(zip(zip(emoji.captions, emoji.styles, strict=True), data.groups.tolist(), strict=True))
    man, woman, tractor = (group[text, "twemoji"] for text in ("man pouting", "woman pouting", "tractor"))
    assert man == woman != tractor
    assert group["tractor", "noto"] == group["tractor", "noto-v1"] != tractor


def test_a_restoration_is_held_against_the_caption_of_its_picture():
    emoji, data = load_data("emoji", "test"), load_data("restoration:of=emoji", "test")
    assert torch.equal(data.caption_embeddings(SOME), emoji.embeddings[SOME])
    assert (len(data.scorer_split()), data.text_encoder) == (len(emoji.scorer_split()), None)
    assert Restoration(DATA, LowResolution(2)).caption_embeddings(SOME) is None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("restoration:of=digits,factor=3", "factor=3 does not divide 8 x 8 pixels"),
        ("restoration:of=digits,task=colour", "task"),
        ("restoration:of=moons", r"expected images \[C, H, W\], got events \[2\]"),
        ("restoration:of=digits,task=inpainting,hidden=2", "hidden"),
        ("restoration:of=emoji,with_label=true", "embeddings .* or choose labels, as in of=emoji:condition"),
        ("restoration:of=emoji,factor=5", "factor=5 does not divide 32 x 32 pixels"),
    ],
)
def test_impossible_tasks_are_refused(spec, message):
    with refused(message):
        load_data(spec)


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        (psnr, peak_signal_noise_ratio, {"dim": (1, 2, 3)}),
        (ssim, structural_similarity_index_measure, {}),
    ],
)
def test_scores_of_images_are_those_of_torchmetrics(ours, theirs, options, generator):
    x, y = 2 * torch.rand(2, 6, 3, 16, 20, generator=generator) - 1
    x = 0.7 * y + 0.3 * x
    expected = theirs(x, y, data_range=2.0, reduction="none", **options)
    assert torch.allclose(ours(x, y).float(), expected, atol=1e-4)


# -- several samples of one condition -------------------------------------------------------------


PAIRED = ["crps", "energy-score", "member-spread", "spread-skill", "psnr", "consistency"]
SAMPLES, MEMBERS, SEED = 24, 4, 5


@pytest.fixture(scope="module")
def both_splits() -> tuple[Data, Data]:
    spec = "restoration:of=digits,factor=2"
    return load_data(spec, "train"), load_data(spec, "test")


@pytest.fixture(scope="module")
def flow(both_splits: tuple[Data, Data]) -> Flow:
    return train(
        both_splits[0],
        prior="learned-mean:covariance=diagonal,steps=20,depth=1,hidden=128",
        coupling="condot",
        model="unet:widths=8-16,patch=1",
        steps=6,
        batch_size=16,
        warmup=1,
        checkpoint_every=0,
        sample_every=0,
        device="cpu",
    )


def test_members_follow_each_other_and_are_scored_against_the_event_of_their_condition(flow, both_splits):
    options = {"nfe": (2,), "samples": SAMPLES, "seed": SEED, "metrics": PAIRED}
    found = evaluate(flow, both_splits[0], reference=both_splits[1], members=MEMBERS, **options)
    chosen = draw_indices(both_splits[1], SAMPLES // MEMBERS, torch.Generator().manual_seed(SEED))
    truth, cond = both_splits[1].batch(chosen.repeat_interleave(MEMBERS))
    x = flow.sample(cond, nfe=2, generator=torch.Generator().manual_seed(SEED)).clamp(-1, 1)
    members = x.view(-1, MEMBERS, *x.shape[1:]), truth[::MEMBERS]
    assert found.value("crps", nfe=2) == pytest.approx(float(crps(*members).mean()), rel=1e-6)
    assert found.value("spread_skill", nfe=2) == pytest.approx(spread_skill_ratio(*members), rel=1e-6)
    agreed = float(consistency(both_splits[1].observation, x, cond).mean())
    assert found.value("consistency", nfe=2) == pytest.approx(agreed, rel=1e-5)
    assert found.settings["members"] == MEMBERS
    assert "4 samples of each condition" in found.metrics["crps"].description
    one = evaluate(flow, both_splits[0], reference=both_splits[1], **options)
    assert not {"member_spread", "members"} & {*one.metrics, *one.settings}
    assert any("member-spread left out: it needs 2 samples or more" in note for note in one.notes)


@pytest.mark.parametrize("members", [0, 5, 25])
def test_members_divide_the_samples(flow, both_splits, members):
    with pytest.raises(OptionError, match="members"):
        evaluate(flow, both_splits[0], samples=SAMPLES, members=members, metrics=["crps"])
