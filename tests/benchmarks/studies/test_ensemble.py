"""Members trained side by side are what each would be alone, and their cells are kept one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.studies.ensemble import Budget, Job, Member, run_jobs, train_members
from benchmarks.studies.settings import CONDOT, Setting
from benchmarks.studies.store import Store
from flowprior.data import TensorData
from flowprior.flow import Flow

BUDGET = Budget(model="mlp:width=16,depth=1", steps=12, batch_size=32, warmup=2, ema=0.5)
DIAGONAL = Setting("gmm:reg_covar=0.01", "ot")


def points(classes: int | None = 3) -> TensorData:
    labels = torch.arange(90) % 3
    noise = torch.randn(90, 2, generator=torch.Generator().manual_seed(0))
    cond = None if classes is None else labels
    return TensorData(0.3 * noise + 4 * labels[:, None], cond, name="points", classes=classes)


def samples(flow: Flow, labels: torch.Tensor) -> torch.Tensor:
    return flow.sample(labels, nfe=4, generator=torch.Generator().manual_seed(0))


def test_a_member_is_the_same_alone_and_in_company() -> None:
    labels = torch.arange(30) % 3
    together, _ = train_members([Member(CONDOT, points()), Member(DIAGONAL, points())], 0, BUDGET)
    for flow, setting in zip(together, (CONDOT, DIAGONAL), strict=True):
        alone, _ = train_members([Member(setting, points())], 0, BUDGET)
        torch.testing.assert_close(samples(flow, labels), samples(alone[0], labels), rtol=1e-3, atol=1e-3)


def test_members_learn() -> None:
    """From N(0, I) the samples have moved to their classes, which lie at 0, 4 and 8."""
    labels = torch.arange(300) % 3
    budget = replace(BUDGET, model="mlp:width=32,depth=1", steps=100, lr=3e-2, ema=0.9)
    flows, seconds = train_members([Member(CONDOT, points())], 0, budget)
    means = torch.stack([samples(flows[0], labels)[labels == k].mean(0) for k in range(3)])
    assert means[0].max() < means[1].min() < means[1].max() < means[2].min()
    assert means[2].min() > 3
    assert seconds > 0


def test_data_without_a_condition_train_flows_without_one() -> None:
    flows, _ = train_members([Member(Setting("gmm", "independent"), points(None))], 0, BUDGET)
    assert flows[0].sample(None, 7, nfe=2).shape == (7, 2)


def test_finished_cells_are_not_trained_again(tmp_path: Path) -> None:
    store, judged = Store("toy", tmp_path), []

    def judge(flow: Flow) -> dict[str, float]:
        judged.append(flow)
        return {"figure": float(len(judged))}

    jobs = [Job(f"cell{k}", Member(CONDOT, points()), judge, {"setting": f"s{k}"}) for k in range(2)]
    run_jobs(store, jobs[:1], 0, BUDGET)
    cells = run_jobs(store, jobs, 0, BUDGET)
    assert [cell["figure"] for cell in cells] == [1.0, 2.0]
    assert [cell["setting"] for cell in cells] == ["s0", "s1"]
    assert cells[1]["steps"] == 12
    assert len(judged) == 2
