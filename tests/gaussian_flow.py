"""A flow between Gaussians whose velocity, map and density are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.flow import Flow
from flowprior.paths import Path
from flowprior.priors import Prior


class GaussianVelocity(nn.Module):
    """The marginal velocity of the straight path between N(m0, s0²) and N(m1, s1²), drawn independently.

    v = m1 − m0 + (t s1² − (1 − t) s0²) / ((1 − t)² s0² + t² s1²) (x − (1 − t) m0 − t m1), in each dimension.
    The flow carries x0 to m1 + s1/s0 (x0 − m0).
    """

    def __init__(self, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.m0, self.s0 = start
        self.m1, self.s1 = end

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        t = t.view(-1, *[1] * (x.dim() - 1))
        slope = (t * self.s1**2 - (1 - t) * self.s0**2) / ((1 - t) ** 2 * self.s0**2 + t**2 * self.s1**2)
        return self.m1 - self.m0 + slope * (x - (1 - t) * self.m0 - t * self.m1)


class LinearVelocity(nn.Module):
    """v = A x + b, whatever t; the flow is x1 = e^A (x0 + A⁻¹ b) − A⁻¹ b with log-determinant tr A."""

    def __init__(self, dim: int, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(8)
        self.matrix = nn.Parameter(torch.randn(dim, dim, generator=generator, dtype=dtype) / dim**0.5)
        self.shift = nn.Parameter(torch.randn(dim, generator=generator, dtype=dtype))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return (x.flatten(1) @ self.matrix.T + self.shift).view_as(x)

    def start_of(self, x1: Tensor) -> Tensor:
        """The start that ends at x1."""
        fixed = torch.linalg.solve(self.matrix, self.shift)
        return ((x1.flatten(1) + fixed) @ torch.matrix_exp(-self.matrix).T - fixed).view_as(x1).detach()


class ClassVelocity(nn.Module):
    """v = table[c] − x with dropout, and a row for the null label; records its calls."""

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(8)
        self.table = nn.Embedding.from_pretrained(torch.randn(classes + 1, dim, generator=generator))
        self.dropout = nn.Dropout(0.5)
        self.calls: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        self.calls.append((x, t, cond))
        assert cond is not None
        return self.dropout(self.table(cond)) - x


def flow_of(
    model: object,
    event: tuple[int, ...] = (3,),
    *,
    prior: str = "gaussian",
    coupling: str = "condot",
    classes: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Flow:
    """A flow around ``model`` with a prior fitted to noise of ``classes`` classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % classes if classes else None
    x = torch.randn(60, *event, generator=generator, dtype=dtype)
    x = x if labels is None else x + labels.view(-1, *[1] * len(event))
    fitted = Prior.registry.resolve(prior).fit((x, labels), generator=generator)
    condition = Condition("labels", classes) if classes else Condition()
    return Flow(model, fitted, Coupling.registry.resolve(coupling), Path.create("condot"), condition)  # type: ignore[arg-type]
