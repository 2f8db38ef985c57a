"""Pairs that a trained flow makes: a source sample and where it is carried, or a datum and where it began.

Trajectories of a flow do not cross. A network that is trained on its source samples and samples as pairs has
few crossings to average over: the new flow is straighter, and its transport cost no higher (Liu et al. 2022,
arXiv 2209.03003, section 3). One such round is enough (Lee et al. 2024, arXiv 2405.20320).

A pool of pairs is made once and drawn from ever after, each label's by themselves.
"""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import rows as rows_of
from flowprior.couplings.base import Coupling
from flowprior.couplings.by_label import MOST_BYTES, WITHOUT, check_labels, labels_of, samples_of_each
from flowprior.errors import CouplingError, NotFittedError, OptionError
from flowprior.mixtures.grouped import rows_of_each
from flowprior.priors import Prior
from flowprior.registry.options import check_counts, check_numbers
from flowprior.streams.batches import CheckedBatches, FitData

AUTO = "auto"
OWNER = "coupling 'reflow'"
NO_FLOW = (
    f"{OWNER}: expected a trained flow, got none; name a run or a saved flow, as in reflow:flow=runs/first"
)
INSTEAD = "pool=0, which makes pairs for each batch"
"""The advice for conditions that a pool of pairs cannot serve."""


class Teacher(Protocol):
    """The flow whose pairs they are, as :class:`flowprior.training.rectifying.FlowTeacher`."""

    @property
    def prior(self) -> Prior:
        """The fitted prior that it starts from."""
        ...

    def forth(self, x0: Tensor, cond: Conditions | None, *, nfe: int, guidance: float) -> Tensor:
        """Return the samples ``[B, *event]`` that source samples are carried to."""
        ...

    def back(self, x1: Tensor, cond: Conditions | None, *, nfe: int, guidance: float) -> Tensor:
        """Return the source samples ``[B, *event]`` that are carried to x1."""
        ...


@Coupling.register("reflow")
class ReflowCoupling(Coupling):
    """x0 ~ p0(·|c) and what a trained flow carries it to: one round of rectification.

    Training loads the flow, starts from its prior and makes the pairs; the flow that is left needs the other
    one no more. ``training.init`` lets its network begin where the other one ended. With a ``pool``, for
    labels or no condition, pairs are made once, in :meth:`fit`, and drawn with replacement. A training that
    is resumed makes them again, so that the flow has to stay as it is until the end: its digest is in the
    run's ``info.json``, and another flow at its path is refused. :meth:`draw`, which must keep the data that
    it is given, carries them back.

    Args:
        flow: the run or saved flow whose pairs they are.
        pool: pairs that are made before the training; 0 makes them anew for each batch, under any condition,
            at ``nfe`` evaluations of the flow each.
        nfe: evaluations of the flow for a pair, with the sampler that suits it; backwards, by the midpoint
            rule, one more where the number is odd.
        real: share of the pairs that end at a datum, which the flow carries back to its source sample.
        guidance: strength of classifier-free guidance that the flow's pairs are made with.
        origin: name of the coupling that the flow was trained with, or the first of several that were
            rectified one after the other. It says where sampling starts, and what law the network is shown.
            ``"auto"`` asks the flow, and is recorded as its answer.
    """

    def __init__(
        self,
        flow: str = "",
        pool: int = 20_000,
        nfe: int = 15,
        real: float = 0.0,
        guidance: float = 1.0,
        origin: str = AUTO,
    ) -> None:
        check_counts(OWNER, 0, pool=pool)
        check_counts(OWNER, nfe=nfe)
        check_numbers(OWNER, real=(real, 0, 1), guidance=(guidance, -1e6, 1e6))
        if origin != AUTO and Coupling.record(origin).factory is ReflowCoupling:
            raise OptionError(f"{OWNER}: origin={origin} is itself; name the coupling of the first flow")
        self.flow = flow
        self.pool = pool
        self.nfe = nfe
        self.real = real
        self.guidance = guidance
        self.origin = origin
        self.teacher: Teacher | None = None
        self.digest = ""  # of the flow's weights, sha256, where its file was read
        self.made: dict[int, tuple[Tensor, Tensor]] = {}
        """The pairs (x0, x1), ``[M, *event]`` each, of each label."""

    @property
    def first(self) -> Coupling:
        """The coupling that ``origin`` names; this one, which has no law, where the flow was not yet asked.

        A network of these pairs is shown its law, so that it can begin with the flow's weights: what a
        network is shown, and in which units it answers, leaves the velocity that it learns as it is.
        """
        return self if self.origin == AUTO else Coupling.create(self.origin)

    def _named(self) -> Coupling:
        """Return the coupling that ``origin`` names.

        Raises:
            CouplingError: no flow is named, nor its coupling.
        """
        if self.origin == AUTO and not self.flow:
            raise CouplingError(NO_FLOW)
        if self.origin == AUTO:
            raise CouplingError(
                f"{OWNER}: expected the coupling that its flow was trained with, got none; train reads it "
                "from the flow, or name it, as in origin=posterior"
            )
        return self.first

    @property
    def is_fitted(self) -> bool:
        return self.teacher is not None and (self.pool == 0 or bool(self.made))

    def check(self, prior: Prior) -> None:
        """Refuse a prior that is not the flow's.

        Raises:
            CouplingError: no flow is named, its coupling cannot serve the prior, or its prior is another one.
        """
        self._named().check(prior)
        own = None if self.teacher is None else self.teacher.prior
        if own is not None and prior.is_fitted and not _are_equal(prior, own):
            raise CouplingError(
                f"{OWNER}: expected the fitted prior of the flow, got another one, which its pairs do not "
                "start from; pass the flow's own, or name it and leave it unfitted"
            )

    @torch.no_grad()
    def fit(self, prior: Prior, data: FitData, *, generator: torch.Generator | None = None) -> Self:
        """Make the pool of pairs; nothing with ``pool=0``.

        Args:
            prior: of the flow.
            data: batches (x1, c) with labels or without conditions.
            generator: of source samples, and of the data that are carried back; on the prior's device.

        Raises:
            NotFittedError: there is no flow.
            CouplingError: other conditions, or more pairs than may be held.
        """
        self._teacher()
        if self.pool == 0:
            return self
        stream = CheckedBatches(data, self.name, _labels)
        first = stream.peek()[0]
        if 2 * self.pool * first[0].numel() * first.element_size() > MOST_BYTES:
            raise CouplingError(
                f"{OWNER}: {self.pool} pairs take more than {MOST_BYTES >> 30} GiB; use a smaller pool, or "
                f"{INSTEAD}"
            )
        counts = label_counts(stream)
        total = sum(counts.values())
        sizes = {label: max(1, round(self.pool * count / total)) for label, count in counts.items()}
        real = {label: min(round(self.real * size), counts[label]) for label, size in sizes.items()}
        kept = {label: _chosen(count, real[label], generator) for label, count in counts.items()}
        ends = samples_of_each(stream, OWNER, INSTEAD, kept)
        shape = first.shape[1:]
        self.made = {
            label: self._made(prior, ends[label].unflatten(1, shape), label, size, generator)
            for label, size in sizes.items()
        }
        return self

    def draw(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the source samples that the flow carries to x1."""
        return self._teacher().back(x1, cond, nfe=self.nfe, guidance=self.guidance)

    @torch.no_grad()
    def pairs(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (x0, x1), ``[B, *event]`` each, of the flow under ``cond``; few of the given data are kept.

        Raises:
            NotFittedError: there is no flow, or :meth:`fit` was not called.
            CouplingError: a pool and other conditions than its own.
        """
        self._teacher()
        if self.pool == 0:
            return self._fresh(prior, x1, cond, generator)
        if not self.made:
            raise NotFittedError(
                f"{OWNER}: no pairs yet; call coupling.fit(prior, data) first, as train does"
            )
        x0, ends = torch.empty_like(x1), torch.empty_like(x1)
        for label, rows in rows_of_each(labels_of(_labels(cond), len(x1)).to(x1.device)):
            if label not in self.made:
                raise CouplingError(
                    f"{OWNER}: there are no pairs of label {label}, which had no data; use {INSTEAD}"
                )
            sources, carried = self.made[label]
            chosen = torch.randint(len(sources), (len(rows),), generator=generator, device=sources.device)
            x0[rows], ends[rows] = sources[chosen].to(x1), carried[chosen].to(x1)
        return x0, ends

    def _fresh(
        self, prior: Prior, x1: Tensor, cond: Conditions | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Make pairs for a batch; each datum is kept with the probability ``real``."""
        x0 = self.source(prior, cond, len(x1), generator=generator)
        kept = torch.rand(len(x1), generator=generator, device=x0.device) < self.real
        made, ends = ~kept, x1.clone()
        if bool(kept.any()):
            x0[kept] = self.draw(prior, x1[kept], rows_of(cond, kept)).to(x0)
        if bool(made.any()):
            ends[made] = self._forth(x0[made], rows_of(cond, made)).to(x1)
        return x0, ends

    def _made(
        self, prior: Prior, ends: Tensor, label: int, size: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Make (x0, x1), ``[size, *event]`` each, of one label, the first ones from the data ``ends``."""
        device = prior.event_dims.device
        cond = None if label == WITHOUT else torch.full((size,), label, device=device)
        kept, ends = len(ends), ends.to(device)
        rest = rows_of(cond, slice(kept, None))
        x0 = self.source(prior, rest, size - kept, generator=generator)
        back = self.draw(prior, ends, rows_of(cond, slice(kept))) if kept else ends
        made = self._forth(x0, rest) if kept < size else x0
        return torch.cat([back.to(x0), x0]), torch.cat([ends.to(x0), made.to(x0)])

    def _forth(self, x0: Tensor, cond: Conditions | None) -> Tensor:
        return self._teacher().forth(x0, cond, nfe=self.nfe, guidance=self.guidance)

    def _teacher(self) -> Teacher:
        if self.teacher is None:
            raise NotFittedError(
                f"{OWNER}: its flow is not loaded; train loads it, and what was trained needs it no more"
            )
        return self.teacher

    # -- the source samples are those of the flow's own coupling ----------------------------------

    def source(
        self,
        prior: Prior,
        cond: Conditions | None,
        n: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self._named().source(prior, cond, n, generator=generator)

    def source_mean(self, prior: Prior, cond: Conditions | None, n: int) -> Tensor:
        return self._named().source_mean(prior, cond, n)

    def source_log_prob(self, prior: Prior, x0: Tensor, cond: Conditions | None) -> Tensor:
        return self._named().source_log_prob(prior, x0, cond)


def _are_equal(prior: Prior, other: Prior) -> bool:
    """Return whether two fitted priors are the same one, on whatever device."""
    if prior is other:
        return True
    own, others = prior.state_dict(), other.state_dict()
    return own.keys() == others.keys() and all(
        torch.equal(value.cpu(), others[name].to(value.dtype).cpu()) for name, value in own.items()
    )


def _labels(cond: Conditions | None) -> Tensor | None:
    return check_labels(cond, OWNER, INSTEAD)


def label_counts(data: CheckedBatches) -> dict[int, int]:
    """Count the data samples of each label, or all of them if there are no conditions."""
    counts: dict[int, int] = {}
    for x, cond in data:
        for label, rows in rows_of_each(labels_of(cond, len(x))):
            counts[label] = counts.get(label, 0) + len(rows)
    return counts


def _chosen(count: int, wanted: int, generator: torch.Generator | None) -> Tensor:
    """Return a mask ``[count]`` of ``wanted`` places, drawn without replacement."""
    device = None if generator is None else generator.device
    mask = torch.zeros(count, dtype=torch.bool)
    mask[torch.randperm(count, generator=generator, device=device)[:wanted].cpu()] = True
    return mask
