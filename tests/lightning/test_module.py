"""A trainer of Lightning's trains what ``train`` trains, goes on from its checkpoints, and leaves a flow."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior import Flow, Prior, train
from flowprior.errors import CheckpointError, InputError, OptionError, TrainingDiverged

L = pytest.importorskip("lightning.pytorch")

room = import_module("flowprior.lightning")
FlowModule, TrainingBatches = room.FlowModule, room.TrainingBatches

STEPS = 6
SMALL: dict[str, Any] = {
    "prior": "gmm",
    "coupling": "ot",
    "model": "mlp:width=16,depth=1",
    "steps": STEPS,
    "batch_size": 16,
    "warmup": 2,
    "lr": 1e-2,
    "ema": 0.9,
    "clip": 0.5,
    "seed": 3,
    "condition_dropout": 0.25,
}


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(60) % 3
    return x + labels[:, None], labels


@pytest.fixture(autouse=True)
def few_words() -> Any:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def trainer(steps: int = STEPS, **options: Any) -> Any:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return L.Trainer(
        max_steps=steps, accelerator="cpu", devices=1, enable_checkpointing=False, **quiet, **options
    )


def loader_of(batches: list[Any]) -> Any:
    return torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def trained(data: Any, **options: Any) -> FlowModule:
    module = FlowModule(data, **{**SMALL, **options})
    trainer().fit(module)
    return module


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    first, second = ours.state_dict(), theirs.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0, msg=name)


DESIGNS: list[dict[str, Any]] = [
    {},
    {"prior": "latent-gmm", "coupling": "posterior"},
    {"prior": "gaussian", "coupling": "condot", "path": "cosine", "prediction": "velocity"},
    {"prior": "kernel-mean", "coupling": "leave-one-out", "loss_weight": "adaptive"},
    {"prior": "gaussian", "coupling": "semidiscrete:passes=2"},
    {"prior": "gmm", "prediction": "average-velocity", "coupling": "condot"},
    {"path": "vp", "prior": "gaussian", "prediction": "epsilon", "coupling": "independent"},
]


@pytest.mark.parametrize(
    "design",
    [DESIGNS[0], *(pytest.param(design, marks=pytest.mark.slow) for design in DESIGNS[1:])],
    ids=lambda design: "-".join(design.values()) or "gmm-ot",
)
def test_the_same_seed_gives_the_weights_of_train(data: Any, design: dict[str, Any]) -> None:
    flow = train(data, progress=False, **{**SMALL, **design})
    module = trained(data, **design)
    assert_same(module.to_flow().prior, flow.prior)
    assert_same(module.to_flow().model, flow.model)


def test_the_loss_of_a_batch_is_that_of_train(data: Any, tmp_path: Path) -> None:
    """Step by step, where metrics.jsonl has each one."""
    from flowprior.training import read_metrics

    train(data, out=tmp_path / "run", progress=False, log_every=1, sample_every=0, **SMALL)
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    theirs = [line["loss"] for line in lines if line["kind"] == "train"]
    ours: list[float] = []

    class Kept(L.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            ours.append(float(outputs["loss"]))

    trainer(callbacks=[Kept()]).fit(FlowModule(data, **SMALL))
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert len(ours) == STEPS


def test_a_loader_of_your_own_with_the_same_batches_gives_the_same_weights(data: Any) -> None:
    module = FlowModule(data, **SMALL)
    batches = list(TrainingBatches(module._parts.data, 16, STEPS, SMALL["seed"]))
    trainer().fit(module, train_dataloaders=loader_of(batches))
    assert_same(module.to_flow().model, trained(data).to_flow().model)


def test_a_trainer_goes_on_from_its_checkpoint_to_the_same_weights(data: Any, tmp_path: Path) -> None:
    first = FlowModule(data, **SMALL)
    part = trainer(2)
    part.fit(first)
    part.save_checkpoint(tmp_path / "half.ckpt")
    second = FlowModule(data, **SMALL)
    trainer().fit(second, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert_same(second.to_flow(), trained(data).to_flow())
    assert second.to_flow().metadata["step"] == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["latent-gmm", "learned-mean:epochs=1,hidden=8", "kernel-mean"])
def test_a_module_is_read_from_a_checkpoint_with_its_fitted_prior(
    data: Any, tmp_path: Path, prior: str
) -> None:
    made = FlowModule(data, **{**SMALL, "prior": prior, "coupling": "condot"})
    whole = trainer()
    whole.fit(made)
    whole.save_checkpoint(tmp_path / "whole.ckpt")
    options = {**SMALL, "prior": prior, "coupling": "condot"}
    read = FlowModule.load_from_checkpoint(tmp_path / "whole.ckpt", data=data, weights_only=True, **options)
    assert_same(read.to_flow(), made.to_flow())


def test_a_checkpoint_of_another_configuration_is_refused(data: Any, tmp_path: Path) -> None:
    whole = trainer()
    whole.fit(FlowModule(data, **SMALL))
    whole.save_checkpoint(tmp_path / "whole.ckpt")
    with pytest.raises(CheckpointError, match=r"training\.lr 0\.01 -> 0\.02"):
        FlowModule.load_from_checkpoint(tmp_path / "whole.ckpt", data=data, **{**SMALL, "lr": 0.02})


def test_what_is_left_is_a_flow_that_samples_and_is_saved(data: Any, tmp_path: Path) -> None:
    flow = trained(data).to_flow()
    flow.save(tmp_path / "flow")
    again = Flow.load(tmp_path / "flow")
    cond = torch.tensor([0, 1, 2])
    drawn = [f.sample(cond, nfe=2, generator=torch.Generator().manual_seed(0)) for f in (flow, again)]
    assert torch.equal(*drawn)
    assert "command" not in flow.metadata


def test_a_fitted_prior_stays_as_it_is(data: Any) -> None:
    prior = Prior.create("gmm", components=2).fit(data)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    module = trained(data, prior=prior)
    assert all(torch.equal(before[name], value) for name, value in module.prior.state_dict().items())


def test_gradients_of_several_batches_make_one_step(data: Any) -> None:
    module = FlowModule(data, **SMALL)
    trainer(accumulate_grad_batches=2).fit(module)
    assert int(module.average.n_averaged) == STEPS
    assert module.to_flow().metadata["step"] == STEPS


@pytest.mark.parametrize("batch", [lambda x: x, lambda x: [x], lambda x: (x, None)])
def test_batches_without_a_condition_may_be_events_alone(data: Any, batch: Any) -> None:
    module = FlowModule(data[0], **{**SMALL, "condition_dropout": 0.0})
    trainer().fit(module, train_dataloaders=loader_of([batch(data[0])] * STEPS))
    assert module.to_flow().sample(n=3, nfe=1).shape == (3, 2)


def test_batches_of_something_else_are_refused(data: Any) -> None:
    with pytest.raises(InputError, match=r"expected batches \(x1, condition\) or x1"):
        trainer().fit(FlowModule(data, **SMALL), train_dataloaders=loader_of([{"x": data[0]}]))


def test_a_validation_loader_logs_the_loss_of_the_averaged_weights(data: Any) -> None:
    module = FlowModule(data, **SMALL)
    whole = trainer(val_check_interval=STEPS)
    whole.fit(module, val_dataloaders=loader_of([data]))
    assert 0 < float(whole.callback_metrics["validation_loss"]) < 100
    assert "train_loss" in whole.callback_metrics


def test_processes_share_the_batches_out(data: Any) -> None:
    whole = FlowModule(data, **SMALL)._parts.data
    parts = [list(TrainingBatches(whole, 16, 2, 3, rank=rank, size=2)) for rank in (0, 1)]
    for number, (x1, labels) in enumerate(TrainingBatches(whole, 16, 2, 3)):
        assert torch.equal(torch.cat([part[number][0] for part in parts]), x1)
        assert torch.equal(torch.cat([part[number][1] for part in parts]), labels)
    with pytest.raises(OptionError, match="batch_size=16 cannot be divided among 3 processes"):
        TrainingBatches(whole, 16, 2, 3, size=3)


def test_the_losses_of_two_processes_average_to_that_of_two_micro_batches(data: Any, tmp_path: Path) -> None:
    """What each process is given, draws and drops is what ``train`` gives a micro-batch."""
    from flowprior.training import read_metrics

    run = {"out": tmp_path / "run", "progress": False, "accumulate": 2, "log_every": 1, "sample_every": 0}
    flow = train(data, **{**SMALL, **run, "steps": 1})
    (line,) = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    losses = []
    for rank in (0, 1):
        module = FlowModule(data, **{**SMALL, "prior": flow.prior, "steps": 1})
        module._trainer = SimpleNamespace(global_rank=rank, world_size=2, global_step=0)
        module.log = lambda *_, **__: None
        (batch,) = TrainingBatches(module._parts.data, 16, 1, SMALL["seed"], rank=rank, size=2)
        losses.append(float(module.training_step(batch, 0)))
    assert sum(losses) / 2 == pytest.approx(line["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 2}, "accumulate_grad_batches"),
        ({"shard": True}, "strategy"),
    ],
)
def test_what_the_module_cannot_do_is_refused(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        FlowModule(data, **{**SMALL, **options})


def test_a_trainer_of_another_precision_or_length_is_told_so(data: Any) -> None:
    with pytest.raises(OptionError, match="give FlowModule precision='bfloat16'"):
        trainer(precision="bf16-mixed").fit(FlowModule(data, **SMALL))
    with pytest.warns(RuntimeWarning, match=r"steps=6, but Trainer\(max_steps=2\)"):
        trainer(2).fit(FlowModule(data, **SMALL))


def test_a_flow_is_not_had_before_the_prior_is_fitted(data: Any) -> None:
    with pytest.raises(OptionError, match=r"call trainer\.fit"):
        FlowModule(data, **SMALL).to_flow()


def test_a_loss_that_is_not_finite_ends_the_training(data: Any) -> None:
    class Nothing(nn.Linear):
        def forward(self, x: Tensor, t: Tensor, cond: Any) -> Tensor:
            return super().forward(x) / 0

    with pytest.raises(TrainingDiverged):
        trained(data, model=Nothing(2, 2))


def test_the_global_random_state_is_the_users(data: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    module = FlowModule(data, **SMALL)
    torch.manual_seed(5)
    trainer().fit(module)  # whose own batches draw nothing there, as a DataLoader would
    assert torch.equal(torch.rand(1), expected)


WITHOUT = """
import sys
sys.modules["lightning"] = sys.modules["lightning.pytorch"] = {older}
import flowprior
{use}
"""


def run_without(older: str, use: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(older=older, use=use)
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)


@pytest.mark.slow
def test_without_lightning_the_error_names_the_extra() -> None:
    hidden = "None\nsys.modules['pytorch_lightning'] = None"
    done = run_without(hidden, "import flowprior.lightning")
    assert "pip install lightning" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_older_package_serves_too() -> None:
    pytest.importorskip("pytorch_lightning")
    use = (
        "import torch, pytorch_lightning as pl\nfrom flowprior.lightning import FlowModule\n"
        "module = FlowModule(torch.randn(30, 2), prior='gaussian', model='mlp:width=4', steps=2)\n"
        "assert isinstance(module, pl.LightningModule)\n"
        "pl.Trainer(max_steps=2, logger=False, enable_checkpointing=False).fit(module)\n"
        "print(module.to_flow().metadata['step'])"
    )
    done = run_without("None", use)
    assert done.stdout.split()[-1:] == ["2"], done.stderr
