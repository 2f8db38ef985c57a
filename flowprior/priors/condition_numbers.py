"""Numbers for each condition that are trained: of labels a table, of embeddings a network; zero at first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.priors.mapper_training import Mapper


class ConditionTable(nn.Module):
    """A row of numbers for each label, or one row where there is no condition.

    Args:
        rows: labels, or 1.
        numbers: in each row.
    """

    def __init__(self, rows: int, numbers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, numbers))

    def forward(self, labels: Tensor) -> Tensor:
        """Rows ``[B, numbers]`` of labels ``[B]``."""
        return self.weight.index_select(0, labels)


def make_numbers(
    condition: Condition, numbers: int, hidden: int, depth: int, generator: torch.Generator | None = None
) -> ConditionTable | Mapper:
    """What gives ``numbers`` for each condition, all of them zero at first.

    Args:
        condition: none, labels or embeddings.
        numbers: for each condition.
        hidden: width of the network that embeddings need.
        depth: its residual blocks.
        generator: of the network's first weights; None leaves them to be loaded.
    """
    if condition.kind != "embeddings":
        return ConditionTable(max(condition.size, 1), numbers)
    with torch.random.fork_rng(devices=[]):
        mapper = Mapper(condition, numbers, hidden, depth)
    if generator is not None:
        mapper.initialise(generator)
    return mapper
