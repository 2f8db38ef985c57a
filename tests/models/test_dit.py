"""The diffusion transformer beyond what every model is tested for: patches, positions, first weights."""

from __future__ import annotations

import pytest
import torch

from flowprior.conditions import Condition, TokenStates
from flowprior.errors import InputError
from flowprior.models import DiT, build_model
from flowprior.models.dit import grid_positions

TOKENS = Condition("tokens", 6)


def small(event: tuple[int, ...] = (2, 6, 5), condition: Condition | None = None, **options) -> DiT:
    sizes = {"patch": 2, "width": 16, "depth": 2, "heads": 2}
    return DiT(torch.Size(event), condition or Condition(), **{**sizes, **options})


def test_patches_are_put_back_where_they_were_taken():
    model = small()
    x = torch.randn(3, 2, 6, 5)
    rows = model._rows(x)
    assert rows.shape == (3, 3 * 3, 2 * 4), "5 columns take three patches of 2"
    assert torch.equal(model._events(rows), x)


def test_a_block_starts_as_the_identity():
    model = small(condition=TOKENS)
    tokens = TokenStates(torch.randn(3, 4, 6), torch.ones(3, 4, dtype=torch.bool))
    rows = torch.randn(3, 9, 16)
    for block in model.blocks:
        assert torch.equal(block(rows, torch.randn(3, 16), model.context(tokens)), rows)


def test_positions_tell_rows_and_columns_apart():
    positions = grid_positions(3, 4, 16)
    assert positions.shape == (12, 16)
    assert positions.unique(dim=0).shape[0] == 12
    grid = positions.view(3, 4, 2, 8)
    assert torch.equal(grid[:, 0, 0], grid[:, 3, 0]), "the first half is the row's"
    assert torch.equal(grid[0, :, 1], grid[2, :, 1]), "the second the column's"
    assert torch.allclose(positions.square().sum(1), torch.full((12,), 8.0))
    assert "positions" not in small().state_dict()


def test_moved_patches_are_seen_where_they_are():
    model = small((1, 8, 8))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(0))
    x, t = torch.randn(2, 1, 8, 8), torch.zeros(2)
    rolled = model(x.roll(2, 3), t).roll(-2, 3)
    assert not torch.allclose(rolled, model(x, t), atol=1e-3)


def test_another_size_is_refused():
    model = build_model("dit:width=16,heads=2,depth=1", torch.Size([1, 8, 8]), Condition())
    with pytest.raises(InputError, match=r"dit: expected x \[B, C, 8, 8\], got \[2, 1, 8, 9\]"):
        model(torch.zeros(2, 1, 8, 9), torch.zeros(2))
