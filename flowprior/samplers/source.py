"""Where sampling starts: the source samples, at a temperature."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.errors import OptionError
from flowprior.priors import Prior


def draw_source(
    coupling: Coupling,
    prior: Prior,
    cond: Conditions | None,
    n: int | None = None,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Source samples ``[B, *event]``, each at ``temperature`` times its distance from their mean.

    Raises:
        CouplingError: a temperature other than 1 where the mean is not known.
    """
    x0 = coupling.source(prior, cond, n, generator=generator)
    if temperature == 1:
        return x0
    mean = coupling.source_mean(prior, cond, len(x0)).to(x0)
    return mean + temperature * (x0 - mean)


def check_temperature(owner: str, temperature: Any) -> float:
    """Check a temperature and return it as a plain number.

    Raises:
        OptionError: no finite number of 0 or more.
    """
    number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if not number or not 0 <= float(temperature) < float("inf"):
        raise OptionError(f"{owner}: temperature={temperature!r} is not possible; choose a number, 0 or more")
    return float(temperature)
