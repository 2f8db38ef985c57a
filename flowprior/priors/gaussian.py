"""One Gaussian for all conditions: the standard normal, or the moments of the whole data set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowprior.errors import InputError, OptionError
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.gmm_log_prob import gmm_log_prob_all
from flowprior.ops.gmm_sample import draw_rows
from flowprior.priors.base import Prior
from flowprior.registry.options import choose
from flowprior.streams.batches import CheckedBatches, refuse_float_labels

MOMENTS = ("standard", "scalar", "diagonal")


@Prior.register("gaussian", aliases=("normal",))
class GaussianPrior(Prior):
    """N(0, I), or a Gaussian with the mean and scale of the data, whatever the condition.

    Args:
        moments: ``"standard"`` for N(0, I); ``"scalar"`` for one mean and one scale over all
            dimensions; ``"diagonal"`` for one mean and one scale a dimension.
        reg_covar: added to the diagonal of the covariance learned from the data.
    """

    takes = ()

    def __init__(self, moments: str = "standard", reg_covar: float = 1e-6) -> None:
        super().__init__()
        self.moments = choose("prior 'gaussian'", "moments", moments, MOMENTS)
        if not isinstance(reg_covar, int | float) or not 0 <= reg_covar < float("inf"):
            raise OptionError(
                f"prior 'gaussian': expected reg_covar to be a finite number >= 0, got {reg_covar!r}"
            )
        self.reg_covar = reg_covar
        self.loc = nn.Buffer(torch.empty(0))
        self.var = nn.Buffer(torch.empty(0))

    @property
    def is_standard_normal(self) -> bool:
        return self.moments == "standard"

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, _ = data.peek()
        dim = first[0].numel()
        loc, var = torch.zeros(dim), torch.ones(dim)
        if self.moments != "standard":
            pooled = ConditionMoments.over((x, None) for x, _ in data).pooled()
            loc, var = pooled.mean, pooled.variance
            if self.moments == "scalar":
                var = (var + (loc - loc.mean()).square()).mean().expand(dim)
                loc = loc.mean().expand(dim)
            var = var + self.reg_covar
            if not bool((var.to(first) > 0).all()):
                raise InputError(
                    "gaussian.fit: a dimension is constant and reg_covar=0, so there is no density; "
                    "set reg_covar > 0, such as 1e-6"
                )
        self.loc = loc.to(first).contiguous()
        self.var = var.to(first).contiguous()

    def _check_cond(self, cond: Tensor | None, method: str) -> Tensor | None:
        """The condition is not read, but what no prior takes for one is refused here too."""
        refuse_float_labels(cond, f"gaussian.{method}")
        return cond

    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        only = torch.zeros(n, dtype=torch.long, device=self.loc.device)
        return draw_rows(*self._mixture(self.loc.dtype), only, generator)[0]

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return gmm_log_prob_all(x, *self._mixture(x.dtype))[0][:, 0]

    def _mixture(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, mean and scale of a mixture of one condition and one component."""
        loc = self.loc.to(dtype)[None, None]
        return loc.new_zeros(1, 1), loc, self.var.to(dtype).sqrt()[None, None]

    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        return self.loc.repeat(n, 1)
