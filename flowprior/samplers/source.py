"""Where sampling starts: the source samples, at a temperature, and guided by the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.couplings import Coupling
from flowprior.display import short
from flowprior.errors import OptionError
from flowprior.priors import Prior
from flowprior.registry import is_number


@dataclass(frozen=True)
class SourceOptions:
    """How source samples x0 are moved before the flow carries them.

    With m(c) the prior's mean of the condition and m̄ that of all conditions together, they become
    m(c) + temperature (x0 − m(c)) + (prior_guidance − 1) (m(c) − m̄).
    """

    temperature: float = 1.0
    prior_guidance: float = 1.0


PLAIN = SourceOptions()


def draw_source(
    coupling: Coupling,
    prior: Prior,
    cond: Conditions | None,
    n: int | None = None,
    *,
    options: SourceOptions = PLAIN,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Source samples ``[B, *event]``, moved as the options say.

    Raises:
        CouplingError: they are to be moved, and their mean is not known, or is the same for all conditions.
    """
    x0 = coupling.source(prior, cond, n, generator=generator)
    if options == PLAIN:
        return x0
    mean = coupling.source_mean(prior, cond, len(x0)).to(x0)
    moved = mean + options.temperature * (x0 - mean) if options.temperature != 1 else x0
    if options.prior_guidance != 1:
        away = coupling.source_deviation(prior, cond, len(x0)).to(x0)
        moved = moved + (options.prior_guidance - 1) * away
    return moved


def check_temperature(owner: str, temperature: Any) -> float:
    """Check a temperature and return it as a plain number.

    Raises:
        OptionError: no finite number of 0 or more.
    """
    return check_not_negative(owner, "temperature", temperature)


def check_not_negative(owner: str, option: str, value: Any) -> float:
    """Check a number and return it as a plain one.

    Raises:
        OptionError: no finite number of 0 or more.
    """
    if not is_number(value) or value < 0:
        raise OptionError(f"{owner}: {option}={short(value)} is not possible; choose a number, 0 or more")
    return float(value)
