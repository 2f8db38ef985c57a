"""What is measured of a run: its pairs before the first step, and the loss on held-out events."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior import Flow
from flowprior.couplings import Coupling
from flowprior.data import Subset, TensorData, load_data
from flowprior.data.splits import split_validation
from flowprior.errors import OptionError, TrainingInterrupted
from flowprior.priors import Prior
from flowprior.training import Callback, batches, read_metrics, train
from flowprior.training.batches import PairStream, Randomness, measure_starts
from flowprior.training.checkpoints import list_checkpoints, read_checkpoint
from flowprior.training.components import resolve_components, resolve_config
from flowprior.training.config import RunConfig, TrainingConfig
from flowprior.training.loop import LOSS, TIMES, validation_losses
from flowprior.training.state import TrainingState
from tests.pictures_on_disk import paint

from .conftest import SHORT, components, small_net


def pairs_of(data: TensorData, coupling: str, batch_size: int = 16) -> PairStream:
    prior = Prior.create("gmm").fit(data.batches())
    return PairStream(data, prior, Coupling.create(coupling), batch_size, Randomness(0))


def test_at_most_as_many_examples_as_are_stated_drawn_as_in_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "EXAMPLES", 40)
    data = TensorData(torch.randn(600, 2, generator=torch.Generator().manual_seed(0)))
    pairs, sizes = pairs_of(data, "condot", batch_size=16), []
    draw = pairs.coupling.draw

    def recorded(prior: Prior, x1: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        sizes.append(len(x1))
        return draw(prior, x1, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pairs.coupling, "draw", recorded)
    measured = measure_starts(pairs)
    assert sizes[-3:] == [16, 16, 8]
    assert max(sizes) <= 40
    assert json.loads(json.dumps(measured)) == measured


class Still(nn.Module):
    """Predicts that nothing moves."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return self.weight * x


def lines_of(run: Path, kind: str = "validation") -> list[dict[str, Any]]:
    return [line for line in read_metrics(run / "metrics.jsonl") if line["kind"] == kind]


def run_on(data: TensorData | Subset, out: Path | None = None, **options: Any) -> Flow:
    parts: dict[str, Any] = {"prior": "gaussian", "coupling": "condot", "model": small_net()}
    return train(data, out=out, **{**parts, **SHORT, "checkpoint_every": 3, **options})


def test_it_is_the_error_at_each_time_of_the_averaged_weights() -> None:
    """A model v = w x of averaged weight 1, between x0 = 0 and x1: the error at time t is (1 − t)² ‖x1‖²."""
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
    state = TrainingState(components(TensorData(x, name="points"), Still(), prediction="velocity"))
    state.parts.prior.sample = lambda cond, n, **_: torch.zeros(n, 2)  # pyright: ignore[reportAttributeAccessIssue]
    with torch.no_grad():
        state.averaged.weight.fill_(1.0)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    found = validation_losses(state, TensorData(x, name="held"))
    order = torch.randperm(64, generator=Randomness(0).generator("validation"))
    for part in range(TIMES):
        time = (part + 0.5) / TIMES
        expected = (1 - time) ** 2 * float(x[order[part::TIMES]].square().mean())
        assert found[f"{LOSS}_at_{time:g}"] == pytest.approx(expected, rel=1e-5)
    assert found[LOSS] == pytest.approx(sum(value for name, value in found.items() if name != LOSS) / TIMES)


@pytest.mark.parametrize("coupling", ["condot", "ot:ot_batch=16"])
def test_few_events_leave_times_out_and_batches_may_be_uneven(points: TensorData, coupling: str) -> None:
    """Batches of 8 forward passes, also where the coupling draws more at once."""
    state = TrainingState(replace(components(points), coupling=Coupling.registry.resolve(coupling)))
    few = validation_losses(state, Subset(points, torch.arange(3), "few"))
    assert sorted(few) == [LOSS, *(f"{LOSS}_at_{t:g}" for t in (0.0625, 0.1875, 0.3125))]
    eleven = validation_losses(state, Subset(points, torch.arange(11), "eleven"))
    at = [eleven[f"{LOSS}_at_{(part + 0.5) / TIMES:g}"] for part in range(TIMES)]
    weighed = sum(n * v for n, v in zip([2, 2, 2, 1, 1, 1, 1, 1], at, strict=True))
    assert eleven[LOSS] == pytest.approx(weighed / 11, rel=1e-6)


def test_a_run_is_that_of_the_events_that_are_left(points: TensorData, tmp_path: Path) -> None:
    """Held out by the run, or before it: the same prior, the same weights."""
    kept, held = split_validation(points, 10, seed=4)
    options = {"seed": 4, "prior": "gmm:reg_covar=0.1"}
    inside = run_on(points, tmp_path / "inside", validation=10, **options)
    before = run_on(kept, tmp_path / "before", **options)
    mine, theirs = inside.state_dict(), before.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert len(kept) + len(held) == len(points)
    assert not set(kept.indices.tolist()) & set(held.indices.tolist())
    assert [line["step"] for line in lines_of(tmp_path / "inside")] == [3, 6, 9, 12]
    assert lines_of(tmp_path / "before") == []


def test_the_best_checkpoint_stays_beside_the_newest_also_of_a_resumed_run(
    points: TensorData, tmp_path: Path
) -> None:
    """At a rate so high that the loss falls and grows again."""
    run = tmp_path / "run"
    options: dict[str, Any] = {"lr": 100.0, "ema": 0.0, "warmup": 0, "final_lr": 1.0, "validation": 12}
    for steps in (12, 21, 30):
        run_on(points, run, steps=steps, keep_checkpoints=1, resume=True, **options)
    best = min(lines_of(run), key=lambda line: line[LOSS])
    assert best["step"] < 30, "the test needs a run whose loss grows again"
    assert [step for step, _ in list_checkpoints(run / "checkpoints")] == [best["step"], 30]
    info = json.loads((run / "info.json").read_text(encoding="utf-8"))
    assert (info["best_step"], info["best_validation_loss"]) == (best["step"], best[LOSS])
    flow = Flow.load(run / "checkpoints" / f"step-{best['step']:06d}", model=small_net())
    state = TrainingState(components(points, small_net()))
    state.averaged.load_state_dict(flow.model.state_dict())
    held = split_validation(points, 12)[1]
    assert validation_losses(state, held)[LOSS] == pytest.approx(best[LOSS], rel=1e-6)


def test_patience_ends_a_training_with_the_weights_of_its_best_step(
    points: TensorData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one piece, in two of which the first ends between two losses, and without a folder."""

    class Interrupts(Callback):
        def on_step(self, step: int) -> None:
            if step == best + 4:
                signal.raise_signal(signal.SIGTERM)

    options: dict[str, Any] = {"lr": 100.0, "ema": 0.5, "warmup": 0, "final_lr": 1.0, "validation": 12}
    options |= {"steps": 30, "keep_checkpoints": 1}
    run_on(points, tmp_path / "all", **options)
    losses = {line["step"]: line[LOSS] for line in lines_of(tmp_path / "all")}
    best = next(step for step in losses if losses[step] < min(losses[step + 3], losses[step + 6]))
    assert best > 3, "the test needs a run whose loss falls and then grows"
    net, options = small_net(), options | {"patience": 2}
    whole = run_on(points, tmp_path / "whole", model=net, progress=True, **options)
    stopped = f"stopped after step {best + 6} of 30: the validation loss was lowest after step {best}"
    assert stopped in capsys.readouterr().err
    assert whole.metadata["step"] == best
    assert [line["step"] for line in lines_of(tmp_path / "whole")] == list(range(3, best + 7, 3))
    checkpoints = list_checkpoints(tmp_path / "whole" / "checkpoints")
    assert [step for step, _ in checkpoints] == [best, best + 6]
    assert same(net.state_dict(), read_checkpoint(checkpoints[0][1])[2])
    with pytest.raises(TrainingInterrupted):
        run_on(points, tmp_path / "pieces", callbacks=[Interrupts()], **options)
    flows = [run_on(points, tmp_path / "pieces", resume=True, **options) for _ in range(2)]
    flows += [run_on(points, **options), Flow.load(tmp_path / "pieces", model=small_net())]
    flows += [Flow.load(checkpoints[0][1], model=small_net())]
    assert all(same(whole.state_dict(), flow.state_dict()) for flow in flows)
    longer = run_on(points, tmp_path / "pieces", resume=True, **options | {"patience": 20})
    assert longer.metadata["step"] == min(losses, key=lambda step: losses[step])


def same(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize("lacking", [{"validation": 0}, {"checkpoint_every": 0}])
def test_patience_needs_a_loss_on_held_out_events(points: TensorData, lacking: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=r"patience=2 waits for .*; set training.validation and"):
        run_on(points, **{"patience": 2, "validation": 12, **lacking})


def test_folders_of_pictures_give_their_share_of_each_class(tmp_path: Path) -> None:
    for label, count in enumerate((40, 10)):
        for number in range(count):
            paint(tmp_path / f"class{label}" / f"{number}.png")
    kept, held = split_validation(load_data(str(tmp_path), test_fraction=0.0), 10)
    assert torch.as_tensor(held.conditions(torch.arange(len(held)))).bincount().tolist() == [8, 2]
    assert kept.fingerprint() != held.fingerprint()


def test_the_command_of_the_card_holds_out_the_same() -> None:
    config = resolve_config(
        RunConfig(training=TrainingConfig(validation=100)), {}, data="digits", prior="gaussian"
    )
    parts = resolve_components(config, data="digits", prior="gaussian", coupling="condot")
    assert parts.held is not None
    assert (len(parts.data) + len(parts.held), parts.data.spec) == (1438, "digits")
    command = TrainingState(parts).flow().metadata["command"]
    assert "--data digits" in command
    assert "training.validation=100" in command


@pytest.mark.parametrize("coupling", sorted({*Coupling.available()} - {"given"}))
def test_pairs_of_new_data_have_these_data(points: TensorData, coupling: str) -> None:
    """Whatever data the coupling gives to source samples in training."""
    spec = {"leave-one-out": "kernel-mean:bandwidth=0.5", "posterior": "latent-gmm:rank=1,components=2"}
    x, cond = points.x, points.cond
    if coupling == "leave-one-out":
        cond = nn.functional.one_hot(torch.as_tensor(cond)).float()
    prior = Prior.create(spec.get(coupling, "gaussian")).fit((x, cond))
    built = Coupling.create(coupling).fit(prior, (x, cond), generator=torch.Generator().manual_seed(0))
    new = x[:20] + 0.25
    x0, x1 = built.pairs_of_new(prior, new, cond[:20], generator=torch.Generator().manual_seed(1))
    assert torch.equal(x1, new)
    assert x0.shape == new.shape
    if coupling == "leave-one-out":
        plain = Coupling.create("condot").draw(
            prior, new, cond[:20], generator=torch.Generator().manual_seed(1)
        )
        assert torch.equal(x0, plain)


def test_a_part_says_of_itself_what_the_whole_says() -> None:
    whole = TensorData(torch.randn(6, 2), torch.arange(6) % 3, name="whole", classes=3)
    whole.licences, whole.split, whole.spec = ("CC0-1.0",), "train", "whole"
    part = Subset(whole, torch.tensor([4, 1]), "part")
    assert (part.licences, part.split, part.spec) == (("CC0-1.0",), "train", None)
    assert part.condition == whole.condition
    x, cond = part.batch(torch.tensor([1]))
    assert torch.equal(x, whole.x[1:2])
    assert torch.equal(torch.as_tensor(cond), torch.tensor([1]))


def test_groups_are_held_out_whole_and_what_cannot_be_held_out_is_refused(points: TensorData) -> None:
    data = TensorData(torch.randn(100, 2), torch.arange(100) % 5)
    data.groups = torch.arange(100) // 8
    kept, held = split_validation(data, 20, seed=3)
    groups = [set(torch.as_tensor(part.groups).tolist()) for part in (kept, held)]
    assert not groups[0] & groups[1]
    assert 20 <= len(held) < 28
    assert len(kept) + len(held) == 100
    data.groups = torch.zeros(100, dtype=torch.long)
    with pytest.raises(OptionError, match="the 1 groups of 'tensors' would all be held out"):
        split_validation(data, 20)
    with pytest.raises(OptionError, match=r"validation=50 is not possible: 'points' has 50 data samples"):
        run_on(points, validation=50)
    ten = TensorData(torch.randn(100, 2), torch.arange(100) % 10, classes=10)
    with pytest.raises(OptionError, match=r"validation=4 .*: it takes none or all of every class"):
        split_validation(ten, 4)
