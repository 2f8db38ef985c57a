"""Several samples of one condition: whose they are, what they are scored against, what is kept of them."""

from __future__ import annotations

import pytest
import torch

from flowprior import Flow, evaluate, train
from flowprior.data import Data, load_data
from flowprior.data.splits import draw_indices
from flowprior.errors import OptionError
from flowprior.extensions.restoration.metrics import consistency
from flowprior.metrics import crps
from flowprior.metrics.ensembles import spread_skill_ratio

PAIRED = ["crps", "energy-score", "member-spread", "spread-skill", "psnr", "consistency"]
SAMPLES, MEMBERS, SEED = 24, 4, 5


@pytest.fixture(scope="module")
def data() -> tuple[Data, Data]:
    spec = "restoration:of=digits,factor=2"
    return load_data(spec, "train"), load_data(spec, "test")


@pytest.fixture(scope="module")
def flow(data: tuple[Data, Data]) -> Flow:
    return train(
        data[0],
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


def test_members_follow_each_other_and_are_scored_against_the_event_of_their_condition(flow, data):
    options = {"nfe": (2,), "samples": SAMPLES, "seed": SEED, "metrics": PAIRED}
    found = evaluate(flow, data[0], reference=data[1], members=MEMBERS, **options)
    chosen = draw_indices(data[1], SAMPLES // MEMBERS, torch.Generator().manual_seed(SEED))
    truth, cond = data[1].batch(chosen.repeat_interleave(MEMBERS))
    x = flow.sample(cond, nfe=2, generator=torch.Generator().manual_seed(SEED)).clamp(-1, 1)
    members = x.view(-1, MEMBERS, *x.shape[1:]), truth[::MEMBERS]
    assert found.value("crps", nfe=2) == pytest.approx(float(crps(*members).mean()), rel=1e-6)
    assert found.value("spread_skill", nfe=2) == pytest.approx(spread_skill_ratio(*members), rel=1e-6)
    agreed = float(consistency(data[1].observation, x, cond).mean())
    assert found.value("consistency", nfe=2) == pytest.approx(agreed, rel=1e-5)
    assert found.settings["members"] == MEMBERS
    assert "4 samples of each condition" in found.metrics["crps"].description
    one = evaluate(flow, data[0], reference=data[1], **options)
    assert not {"member_spread", "members"} & {*one.metrics, *one.settings}
    assert any("member-spread left out: it needs 2 samples or more" in note for note in one.notes)


@pytest.mark.parametrize("members", [0, 5, 25])
def test_members_divide_the_samples(flow, data, members):
    with pytest.raises(OptionError, match="members"):
        evaluate(flow, data[0], samples=SAMPLES, members=members, metrics=["crps"])
