"""The attention to token states: the tokens of a condition as one sequence, and the block that attends.

Padding is never attended: it is masked, and zeroed before it is read, so that whatever lies there has no
part in any product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.conditions import Condition, Conditions, Parts, TokenStates
from flowprior.conditions.values import describe_value
from flowprior.errors import InputError
from flowprior.networks.embeddings import zeroed


class TokenContext(nn.Module):
    """The token states of all parts as one sequence ``[B, ΣT, width]``, each part mapped linearly.

    Args:
        condition: with token states.
        width: of what is attended to.
    """

    def __init__(self, condition: Condition, width: int) -> None:
        super().__init__()
        self.condition = condition
        sizes = condition.token_widths
        self.names = tuple(sizes)
        self.maps = nn.ModuleList(nn.Linear(size, width) for size in sizes.values())

    def forward(self, cond: Conditions | None) -> TokenStates:
        """The sequence, and which of it is attended.

        Raises:
            InputError: there are no such token states.
        """
        states, masks = [], []
        for name, linear in zip(self.names, self.maps, strict=True):
            part = cond[name] if isinstance(cond, Parts) else cond
            if not isinstance(part, TokenStates):
                raise InputError(f"model: expected {self.condition.describe()}, got {describe_value(cond)}")
            cleared = part.cleared()
            states.append(linear(cleared.states.to(next(linear.parameters()).dtype)))
            masks.append(cleared.mask)
        return TokenStates(torch.cat(states, 1), torch.cat(masks, 1))


class CrossAttention(nn.Module):
    """Multi-head attention of rows to a context (Vaswani et al. 2017); the projection starts at zero.

    Args:
        width: of the rows.
        context: width of the context.
        heads: that divide ``width``.
    """

    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(context, 2 * width)
        self.projection = zeroed(nn.Linear(width, width))

    def forward(self, rows: Tensor, context: TokenStates) -> Tensor:
        """Return what is added to rows ``[B, N, width]``."""
        batch, count, width = rows.shape
        query = self.query(rows).view(batch, count, self.heads, -1).transpose(1, 2)
        key_value = self.key_value(context.states.to(rows.dtype))
        key, value = key_value.view(batch, -1, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=context.mask[:, None, None, :]
        )
        return self.projection(mixed.transpose(1, 2).reshape(batch, count, width))
