"""Path: x_t = α(t) x1 + σ(t) x0 and its velocity u_t = α'(t) x1 + σ'(t) x0, with t from 0 to 1."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from flowprior.errors import InputError, OptionError
from flowprior.ops import affine_path
from flowprior.ops.shapes import check_tensors
from flowprior.priors import Prior
from flowprior.registry import Registered, Registry


class PathSample(NamedTuple):
    """A point on the path (x_t ``[B, *event]``), its velocity (u_t, same shape) and its time (t ``[B]``)."""

    x_t: Tensor
    u_t: Tensor
    t: Tensor


class Coefficients(NamedTuple):
    """α, σ and their derivatives in t, each ``[B]``."""

    alpha: Tensor
    sigma: Tensor
    alpha_dot: Tensor
    sigma_dot: Tensor


class Path(Registered, abc.ABC):
    """Base class of affine probability paths (Lipman et al. 2023, Albergo et al. 2023)."""

    registry: ClassVar[Registry[Any]] = Registry("path", "flowprior.paths")
    requires_standard_normal: ClassVar[bool] = False
    variance_preserving: ClassVar[bool] = False
    """α² + σ² = 1 at every t, which the noise of stochastic diffusion samplers relies on."""

    @abc.abstractmethod
    def coefficients(self, t: Tensor) -> Coefficients:
        """α(t), σ(t), α'(t), σ'(t) for t ``[B]``."""

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor) -> PathSample:
        """The path's point and velocity at time t.

        Args:
            x0: source samples ``[B, *event]``.
            x1: data ``[B, *event]``.
            t: times ``[B]`` in [0, 1].

        Returns:
            x_t and u_t in the wider dtype of x0 and x1, and t.

        Raises:
            InputError: no tensors, or shapes that do not fit.
        """
        check_tensors("interpolate", x0=x0, x1=x1, t=t)
        if x0.shape != x1.shape or t.shape != x1.shape[:1]:
            raise InputError(
                f"interpolate: expected x0 and x1 of one shape [B, *event] and t [B], "
                f"got {list(x0.shape)}, {list(x1.shape)} and {list(t.shape)}"
            )
        return PathSample(*affine_path(x0, x1, self.coefficients(t)), t)

    def check(self, prior: Prior) -> None:
        """Refuse a prior that the path is not valid for.

        Raises:
            OptionError: the path is only valid for N(0, I) and the prior is another one.
        """
        if self.requires_standard_normal and not prior.is_standard_normal:
            raise OptionError(
                f"path '{self.name}' is only valid for a standard normal source, got prior '{prior.name}'; "
                "use the path 'condot', or the prior 'gaussian'"
            )
