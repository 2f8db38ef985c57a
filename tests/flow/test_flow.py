"""Flow: sampling, guidance, batches, modes, and what it refuses."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CouplingError, FlowpriorError, InputError, OptionError
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.samplers import FixedStepSampler, Sampler
from tests.gaussian_flow import ClassVelocity, GaussianVelocity, flow_of


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def class_flow(classes: int = 3, **options: str) -> Flow:
    return flow_of(ClassVelocity(classes, 3), prior="gmm", classes=classes, dtype=torch.float32, **options)


def test_the_exact_velocity_carries_one_gaussian_to_the_other() -> None:
    """x1 = m1 + s1/s0 (x0 − m0), whatever the sampler; Euler's single step is v at t = 0."""
    start = (torch.zeros(3).double(), torch.ones(3).double())
    end = (torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([0.1, 1.0, 4.0]).double())
    flow = flow_of(GaussianVelocity(start, end))
    x0 = flow.prior.sample(n=50, generator=seeded())
    expected = end[0] + end[1] * x0
    for sampler, nfe, tolerance in (
        ("rk4", 400, 1e-6),
        ("heun", 2000, 1e-4),
        ("dopri5:rtol=1e-9,atol=1e-9", None, 1e-7),
    ):
        x = flow.sample(n=50, sampler=sampler, nfe=nfe, generator=seeded())
        torch.testing.assert_close(x, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(
        flow.sample(n=50, nfe=1, generator=seeded()), end[0] + 0 * x0, rtol=0, atol=1e-12
    )


def test_evaluations_are_reported_and_are_those_of_the_model() -> None:
    flow = class_flow()
    labels = torch.arange(9) % 3
    for sampler, nfe, spent in (("euler", 7, 7), ("rk4", 8, 8), ("heun", None, 14), ("euler", None, 15)):
        flow.model.calls.clear()  # type: ignore[union-attr]
        solution = flow.solve(labels, sampler=sampler, nfe=nfe)
        assert solution.nfe == len(flow.model.calls) == spent  # type: ignore[arg-type,union-attr]


@pytest.mark.parametrize(
    ("sampler", "coupling"),
    [
        *(
            (name, "condot")
            for name in sorted(set(Sampler.available()) - {"ancestral", "exponential", "flow-map"})
        ),
        *(("euler", name) for name in ("independent", "ot", "posterior")),
    ],
)
def test_no_evaluation_gives_the_source_samples_that_every_other_number_starts_from(
    sampler: str, coupling: str
) -> None:
    parts = {"prior": "gmm:components=2", "coupling": coupling, "classes": 3, "dtype": torch.float32}
    flow, labels = flow_of(ClassVelocity(3, 3), **parts), torch.arange(9) % 3  # type: ignore[arg-type]
    alone = flow.solve(labels, sampler=sampler, nfe=0, generator=seeded(4), batch_size=4, trajectory=True)
    assert flow.model.calls == []  # type: ignore[union-attr]
    assert (alone.nfe, alone.times.tolist()) == (0, [0.0])
    assert torch.equal(alone.trajectory[0], alone.x)  # type: ignore[index]
    expected = flow.coupling.source(flow.prior, labels, generator=seeded(4))
    assert torch.equal(alone.x, expected)
    spent = None if Sampler.create(sampler).adaptive else 24
    flow.solve(labels, sampler=sampler, nfe=spent, generator=seeded(4))
    assert torch.equal(flow.model.calls[0][0], alone.x)  # type: ignore[index,union-attr]


# -- guidance ---------------------------------------------------------------------------------


def test_guidance_is_the_line_through_both_velocities() -> None:
    flow = class_flow().eval()
    x, t, labels = torch.randn(6, 3), torch.rand(6), torch.arange(6) % 3
    conditional = flow.velocity(x, t, labels)
    unconditional = flow.velocity(x, t, torch.full_like(labels, 3))
    for strength in (0.0, 0.5, 1.0, 2.5):
        expected = unconditional + strength * (conditional - unconditional)
        torch.testing.assert_close(flow.velocity(x, t, labels, strength), expected)


def test_guidance_takes_one_call_with_both_halves_at_the_same_points() -> None:
    flow, labels = class_flow(), torch.tensor([0, 2, 1])
    solution = flow.solve(labels, nfe=4, guidance=2.0)
    calls = flow.model.calls  # type: ignore[union-attr]
    assert solution.nfe == len(calls) == 4  # type: ignore[arg-type]
    for x, t, cond in calls:  # type: ignore[union-attr]
        torch.testing.assert_close(x[:3], x[3:])
        torch.testing.assert_close(t[:3], t[3:])
        assert cond.tolist() == [0, 2, 1, 3, 3, 3]


def recorded(dropout: object) -> dict[str, object]:
    return {"config": {"training": {"condition_dropout": dropout}}}


@pytest.mark.parametrize("call", ["sample", "solve", "sample_and_log_prob", "log_prob", "invert", "velocity"])
def test_guidance_of_a_flow_that_never_saw_the_null_condition_is_refused(call: str) -> None:
    flow, labels, x = class_flow(), torch.arange(9) % 3, torch.zeros(9, 3)
    scored = dict.fromkeys(("log_prob", "invert"), (x, labels))
    arguments = {**scored, "velocity": (x, torch.zeros(9), labels)}.get(call, (labels,))
    flow.metadata = recorded(0.0)
    getattr(flow, call)(*arguments, guidance=1.0)
    for strength in (0.0, 0.5, 2.0, 2):
        with pytest.raises(OptionError, match=r"null condition; .*--set training\.condition_dropout=0\.1"):
            getattr(flow, call)(*arguments, guidance=strength)


@pytest.mark.parametrize(
    "metadata", [recorded(0.1), {}, {"config": 3}, {"config": {"training": None}}, recorded("x")]
)
def test_guidance_of_a_flow_that_saw_it_or_has_no_record_is_allowed(metadata: dict[str, object]) -> None:
    flow = class_flow()
    flow.metadata = metadata
    assert flow.sample(torch.tensor([1]), nfe=1, guidance=2.0).shape == (1, 3)


@pytest.mark.parametrize("nfe", ["4", 4.0, True, [4], 10**7, 10**30])
@pytest.mark.parametrize("sampler", ["euler", "heun", "ddim"])
def test_evaluations_are_a_whole_number_within_reason(sampler: str, nfe: object) -> None:
    with pytest.raises(
        OptionError, match=rf"sampler '{sampler}': nfe=.* is not possible; choose a whole number"
    ):
        class_flow().sample(torch.tensor([1]), sampler=sampler, nfe=nfe)


def test_source_samples_may_be_given_and_start_where_those_of_the_coupling_do() -> None:
    flow, labels = class_flow(), torch.arange(6) % 3
    x0 = flow.sample(labels, nfe=0, generator=torch.Generator().manual_seed(1))
    drawn = flow.sample(labels, nfe=4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(flow.sample(labels, x0=x0, nfe=4), drawn)
    assert torch.equal(flow.sample(labels, x0=x0, nfe=4, batch_size=2), drawn)
    assert torch.equal(flow.sample(labels, x0=x0, nfe=0), x0)


@pytest.mark.parametrize(
    ("x0", "options", "message"),
    [
        (torch.zeros(5, 3), {}, "one condition for each of 5 samples, got 6"),
        (torch.zeros(6, 4), {}, r"finite x0 of shape \[6, 3\].* got torch.float32 of shape \[6, 4\]"),
        (torch.zeros(6, 3).long(), {}, "got torch.int64"),
        (torch.full((6, 3), torch.nan), {}, "finite x0"),
        (torch.zeros(6, 3), {"temperature": 0.5}, "expected temperature=1 .*; move x0 yourself"),
    ],
)
def test_source_samples_that_do_not_fit_are_refused(x0: Tensor, options: Any, message: str) -> None:
    with pytest.raises(FlowpriorError, match=message):
        class_flow().sample(torch.arange(6) % 3, x0=x0, **options)


FIXED = [("euler:grid=last,at=0.5", 800), ("heun:start=0.2", 40), ("rk4:grid=cosine", 40), ("ddim", 800)]
LATE = [*FIXED, ("dopri5:rtol=1e-8,atol=1e-8", None)]


@pytest.mark.parametrize(("sampler", "nfe"), LATE)
def test_drafts_are_solved_from_the_path_on(sampler: str, nfe: int | None) -> None:
    """Between Gaussians, the exact velocity carries x at s to m1 + s1/std(s) (x − mean(s))."""
    end = (torch.tensor([1.0, -2.0, 3.0]).double(), torch.tensor([0.5, 1.0, 2.0]).double())
    flow = flow_of(GaussianVelocity((torch.zeros(3).double(), torch.ones(3).double()), end))
    x0, draft, s = (
        flow.prior.sample(n=5, generator=seeded()),
        torch.randn(5, 3, generator=seeded(1)).double(),
        0.6,
    )
    found = flow.solve(
        draft=draft, start=s, sampler=sampler, nfe=nfe, trajectory=True, generator=seeded(), batch_size=2
    )
    begin = (1 - s) * x0 + s * draft
    expected = end[0] + end[1] * (begin - s * end[0]) / ((1 - s) ** 2 + (s * end[1]) ** 2).sqrt()
    torch.testing.assert_close(found.x, expected, rtol=0, atol=3e-3)
    assert found.nfe == nfe or nfe is None
    assert found.times[[0, -1]].tolist() == [s, 1.0]
    torch.testing.assert_close(found.trajectory[0], begin)  # type: ignore[index]
    given = {"x0": x0, "draft": draft, "sampler": sampler, "nfe": nfe}
    torch.testing.assert_close(flow.sample(start=s, **given), found.x, rtol=0, atol=1e-6)
    undrafted = flow.sample(x0=x0, sampler=sampler.replace(":start=0.2", ""), nfe=nfe)
    assert torch.equal(flow.sample(start=0.0, **given), undrafted)
    assert float((flow.sample(start=0.999, **given) - draft).abs().max()) < 0.02


@pytest.mark.parametrize("sampler", ["ddim", "ancestral", "heun"])
def test_a_draft_starts_late_on_other_paths(sampler: str) -> None:
    flow = flow_of(lambda x, t, c: x, dtype=torch.float32)
    flow.path, draft = Path.create("vp"), torch.ones(4, 3)
    options = {"sampler": sampler, "nfe": 6}
    again, late, drawn = (
        flow.sample(n=4, draft=kept, start=start, generator=seeded(), **options)  # type: ignore[arg-type]
        for kept, start in ((draft, 0.0), (draft, 0.5), (None, None))
    )
    assert torch.equal(again, drawn)
    assert not torch.equal(late, drawn)
    assert torch.equal(flow.sample(draft=draft, start=0.5, nfe=0, x0=draft + 1), draft + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.5}, "expected draft and start together"),
        ({"draft": torch.zeros(6, 3)}, "expected draft and start together"),
        ({"draft": torch.zeros(6, 4), "start": 0.5}, r"finite draft of shape \[6, 3\]"),
        ({"draft": torch.full((6, 3), torch.nan), "start": 0.5}, "finite draft"),
        ({"draft": torch.zeros(5, 3), "start": 0.5}, "one condition for each of 5 samples, got 6"),
        *(({"draft": torch.zeros(6, 3), "start": start}, "expected start to be a number from 0 to 0.999")
          for start in (1.0, -0.1, torch.nan)),
    ],
)  # fmt: skip
def test_drafts_that_do_not_fit_are_refused(options: Any, message: str) -> None:
    with pytest.raises(FlowpriorError, match=message):
        class_flow().sample(torch.arange(6) % 3, **options)


def test_a_sampler_of_source_samples_alone_takes_no_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FixedStepSampler, "starts_late", False)
    with pytest.raises(OptionError, match="'euler' starts with source samples alone, got a draft"):
        class_flow().sample(torch.zeros(2).long(), draft=torch.zeros(2, 3), start=0.5)


def test_no_rows_give_no_samples() -> None:
    none = torch.zeros(0, dtype=torch.long)
    for sampler in ("euler", "ddim", "dopri5"):
        assert class_flow().sample(none, sampler=sampler).shape == (0, 3)
    assert class_flow().log_prob(torch.zeros(0, 3), none).shape == (0,)
    assert flow_of(lambda x, t, c: x).sample(n=0).shape == (0, 3)


def test_guidance_needs_a_condition() -> None:
    flow = flow_of(lambda x, t, c: x)
    flow.sample(n=2, guidance=1.0)
    with pytest.raises(OptionError, match="guidance=2 needs a condition, this flow has none; use guidance=1"):
        flow.sample(n=2, guidance=2.0)


@pytest.mark.parametrize(
    "strength", [float("nan"), float("inf"), float("-inf"), pytest.param(10**400, id="huge")]
)
def test_guidance_must_be_finite(strength: float) -> None:
    flow, labels = class_flow(), torch.arange(3)
    for call in (flow.solve, flow.sample, partial(flow.log_prob, torch.zeros(3, 3))):
        with pytest.raises(OptionError, match=r"guidance=-?(nan|inf|1000\S*) is not possible") as caught:
            call(labels, guidance=strength)
        assert "\n" not in str(caught.value)
    assert flow.model.calls == []  # type: ignore[union-attr]


# -- batches, modes, dtypes -------------------------------------------------------------------


@pytest.mark.parametrize("coupling", ["condot", "ot", "independent", "posterior"])
def test_batches_give_the_same_samples(coupling: str) -> None:
    options = {"prior": "gmm:components=2", "coupling": coupling, "classes": 3, "dtype": torch.float32}
    flow, labels = flow_of(ClassVelocity(3, 3), **options), torch.arange(20) % 3  # type: ignore[arg-type]
    whole = flow.solve(labels, nfe=5, generator=seeded(), trajectory=True)
    parts = flow.solve(labels, nfe=5, generator=seeded(), trajectory=True, batch_size=7)
    torch.testing.assert_close(parts.x, whole.x)
    torch.testing.assert_close(parts.trajectory, whole.trajectory)
    torch.testing.assert_close(parts.times, whole.times)
    assert parts.nfe == whole.nfe == 5
    assert whole.trajectory is not None
    assert whole.trajectory.shape == (6, 20, 3)


def test_sampling_is_in_evaluation_mode_without_gradients_and_leaves_no_trace() -> None:
    flow, labels = class_flow(), torch.arange(4) % 3
    model = flow.model
    assert isinstance(model, ClassVelocity)
    model.train()
    model.dropout.eval()
    first = flow.sample(labels, nfe=2, generator=seeded())
    model.dropout.train()
    torch.testing.assert_close(flow.sample(labels, nfe=2, generator=seeded()), first)
    assert not first.requires_grad
    assert model.training
    assert model.dropout.training
    model.dropout.eval()
    with pytest.raises(OptionError):
        flow.sample(labels, sampler="rk4", nfe=3)
    assert model.training
    assert not model.dropout.training


def test_samples_come_in_the_type_of_the_model_which_casts_with_the_prior() -> None:
    flow = class_flow()
    flow.prior.double()
    assert flow.sample(torch.arange(3), nfe=1).dtype == flow.dtype == torch.float32
    flow.double()
    assert flow.sample(torch.arange(3), nfe=1).dtype == torch.float64
    assert {v.dtype for v in flow.state_dict().values() if v.is_floating_point()} == {torch.float64}


# -- what it refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cond", "n", "message"),
    [
        (None, 4, r"flow.sample: expected int64 labels \[B\] in 0..2, got None"),
        (torch.tensor([0, 3]), None, r"cond has label 3, expected labels 0..2"),
        (torch.tensor([0.0, 1.0]), None, "got torch.float32"),
        (torch.tensor([0, 1]), 3, "one condition for each of 3 samples, got 2"),
        (torch.tensor(1), None, r"expected int64 labels \[B\]"),
        (torch.zeros(1, 1).long(), None, r"expected int64 labels \[B\]"),
    ],
)
def test_conditions_that_do_not_fit(cond: Tensor | None, n: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_flow().sample(cond, n)


@pytest.mark.parametrize("n", [None, -1])
def test_a_flow_without_condition_needs_to_know_how_many(n: int | None) -> None:
    with pytest.raises(InputError, match="expected n >= 0"):
        flow_of(lambda x, t, c: x).sample(n=n)


def test_parts_that_do_not_fit_together() -> None:
    x = torch.randn(20, 3)
    gaussian, gmm = (Prior.create(name).fit((x, torch.arange(20) % 2)) for name in ("gaussian", "gmm"))
    straight, diffusion = Path.create("condot"), Path.create("vp")
    labels = Condition("labels", 2)
    with pytest.raises(CouplingError, match="no latent variables"):
        Flow(nn.Identity(), gaussian, Coupling.create("posterior"), straight, labels)
    with pytest.raises(OptionError, match="only valid for a standard normal source"):
        Flow(nn.Identity(), gmm, Coupling.create("condot"), diffusion, labels)
    Flow(nn.Identity(), gaussian, Coupling.create("condot"), diffusion, labels)
