"""A flow says each of its parts in a line, and its network's size, at a prompt and in a notebook."""

from __future__ import annotations

import torch

from flowprior import Coupling, Flow, Path, Prior
from flowprior.conditions import Condition
from flowprior.models import build_model


def small_flow(prior: Prior | None = None, **options: object) -> Flow:
    x, labels = torch.randn(30, 2), torch.arange(30) % 3
    prior = Prior.create("gmm").fit((x, labels)) if prior is None else prior
    condition = Condition("labels", 3)
    model = build_model("mlp:width=8", torch.Size([2]), condition)
    parts = (model, prior, Coupling.create("ot"), Path.create("condot"), condition)
    return Flow(*parts, model_spec="mlp:width=8", **options)  # type: ignore[arg-type]


def test_a_flow_names_its_parts_one_a_line() -> None:
    flow = small_flow()
    size = sum(parameter.numel() for parameter in flow.model.parameters())
    assert repr(flow).splitlines() == [
        "Flow",
        "  prior: " + repr(flow.prior),
        "  coupling: OTCoupling(): coupling 'ot'",
        "  path: CondOTPath(): path 'condot'",
        f"  network: MLP, 'mlp:width=8', {size:,} parameters, predicts velocity",
        "  condition: int64 labels [B] in 0..2",
        "  samples: [2] in float32 on cpu",
    ]


def test_the_heading_says_what_the_training_wrote_down_in_one_line() -> None:
    metadata = {"data": {"name": "digits\n<b>", "examples": 1437}, "step": 2000}
    flow = small_flow(metadata=metadata)
    assert repr(flow).splitlines()[0] == "Flow of digits <b>, 1,437 examples, trained for 2,000 steps"
    assert "<b>" not in flow._repr_html_()


def test_a_solution_says_its_shape_and_not_its_numbers() -> None:
    solved = small_flow().solve(torch.zeros(4, dtype=torch.long), nfe=2, trajectory=True)
    assert repr(solved) == "Solution: samples [4, 2] in float32, NFE 2, trajectory at 3 times"
