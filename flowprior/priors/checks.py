"""The parts that fits share: checks of labels and of spread, one thread, and a generator of the CPU."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from flowprior.errors import InputError

NAMED = 5
"""Labels that a message names."""
_ONE_FIT_AT_A_TIME = threading.RLock()


def named(labels: Sequence[int], names: Sequence[str] | None = None) -> str:
    """Return ``label 3``, or ``labels 3, 4 and 7 more``; by their ``names``, where they have some."""
    shown = [str(label) if names is None else names[label] for label in labels[:NAMED]]
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    return f"label{'s' * (len(labels) > 1)} {', '.join(shown)}{more}"


def check_fit_labels(owner: str, cond: Tensor | None, advice: str) -> None:
    """Refuse a condition that is neither labels ``[B]`` nor None.

    Args:
        owner: whose fit it is.
        cond: the condition of some rows.
        advice: what to do with other conditions.

    Raises:
        InputError: it is floating-point, or has another shape.
    """
    if cond is not None and (cond.is_floating_point() or cond.dim() != 1):
        raise InputError(
            f"{owner}.fit: expected labels as integers [B] or None, got {cond.dtype} {list(cond.shape)}; "
            f"{advice}"
        )


def check_examples(owner: str, count: Tensor, components: int, shrinkage: float, *, named: bool) -> None:
    """Look at how many examples each condition has, ``count`` ``[C]``; those without are met at sampling.

    More components than examples have no maximum-likelihood fit. With shrinkage they have one, of as many
    components as there are distinct examples at the most, and a warning says so.

    Args:
        owner: for warnings.
        count: examples of each condition.
        components: K, of each condition's mixture.
        shrinkage: examples' worth of the pooled moments in each component.
        named: whether the conditions are labels; False for the one of data without a condition.

    Raises:
        InputError: fewer examples than components, and no shrinkage.
    """
    few, single = ((count > 0) & (count < components)).nonzero()[:, 0], (count == 1).nonzero()[:, 0]
    if len(few) and shrinkage > 0:
        _warn(
            f"{owner}.fit: {_named(few)} fewer examples than components={components}, down to "
            f"{int(count[few].min())}, and gets at most one component an example; lower components"
        )
    elif len(few):
        which = int(few[0])
        where = f"condition {which} has" if named else "the data set has"
        raise InputError(
            f"gmm.fit: {where} {int(count[which])} example(s), fewer than components={components}; "
            f"lower components, or set shrinkage > 0"
        )
    elif named and shrinkage <= 0 and len(single):
        _warn(
            f"{owner}.fit: {_named(single)} one example, so its source samples are nearly copies of it; set "
            "shrinkage > 0, such as 1, to give it a share of the spread of all data"
        )


@contextmanager
def explaining_degenerate(owner: str, reg_covar: float) -> Iterator[None]:
    """Turn a singular covariance into an InputError that says what to do."""
    try:
        yield
    except torch.linalg.LinAlgError as error:
        raise InputError(
            f"{owner}.fit: there is no spread in some dimension and reg_covar={reg_covar}, so there is no "
            "density; set reg_covar > 0, such as 1e-6"
        ) from error


def warn_of_singles(owner: str, labels: Tensor, count: Tensor) -> None:
    """Say which ``labels`` ``[M]`` have one example, ``count`` ``[M]``, and where their spread comes from."""
    single = labels[count == 1]
    if len(single):
        _warn(
            f"{owner}.fit: {_named(single)} one example, which has no spread: its prior has the spread that "
            "labels have in common; give it more examples"
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch's operators on one thread, and on as many as before afterwards.

    A matrix product that is shared out over threads adds its terms in another order, and a fit can carry that
    rounding far: to the sign of an eigenvector, to the pass after which EM stops, through thousands of
    optimiser steps. One thread gives the same bits whatever the number.

    torch keeps that number for the whole process, so fits in several Python threads wait for each other. A
    context inside another one changes nothing.
    """
    with _ONE_FIT_AT_A_TIME:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def on_cpu(generator: torch.Generator | None) -> torch.Generator | None:
    """A generator for the CPU, where statistics are gathered; one of another device seeds a new one."""
    if generator is None or generator.device.type == "cpu":
        return generator
    seed = torch.randint(1 << 62, (), generator=generator, device=generator.device)
    return torch.Generator().manual_seed(int(seed))


def _named(labels: Tensor) -> str:
    return f"{'each of ' * (len(labels) > 1)}{named(labels.tolist())} has"


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)
