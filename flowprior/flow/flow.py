"""Flow: what training leaves behind. Velocity model, prior, coupling and path, to sample, score and save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions, Parts
from flowprior.conditions.rows import as_value, moved, rows
from flowprior.errors import InputError, OptionError
from flowprior.flow.conditioning import (
    FlowVelocity,
    check_finite_condition,
    check_guidance,
    check_negative,
    unseen_as_null,
)
from flowprior.flow.files import load_flow, save_flow
from flowprior.flow.latents import decoded
from flowprior.flow.parts import FlowParts
from flowprior.flow.sampling import (
    Divergence,
    batches,
    carry,
    check_batch_size,
    check_options,
    check_samples,
    estimator,
    evaluating,
    for_group,
    in_batches,
    solve_batches,
    unmoved,
)
from flowprior.models import TextEncoder
from flowprior.models.encoders import is_empty
from flowprior.priors import Prior
from flowprior.priors.base import check_finite
from flowprior.processes.group import Group
from flowprior.samplers import Sampler
from flowprior.samplers.base import PLAIN, Solution, SourceOptions, draw_source, given_rows, given_source
from flowprior.storage.user_paths import expanded

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

DRAWN_AT_ONCE = 500
"""The number of samples to be shown that are solved at once."""
ConditionInput = Conditions | Mapping[str, Any] | str | Sequence[str]
"""A condition, parts of one by name, or texts that a flow's text encoder makes one of."""


class Flow(FlowParts):
    """A velocity model between a prior and the data.

    A module: ``flow.to(device)`` and ``flow.double()`` move and cast model and prior together.

    Args:
        model: any v(x ``[B, *event]``, t ``[B]``, cond) -> ``[B, *event]``, a module or a function.
        prior: where the flow starts; fitted.
        coupling: the pairing it was trained with; says where sampling starts.
        path: the path it was trained on.
        condition: kind and size of the condition.
        prediction: what the model gives: ``"velocity"``; ``"residual"``, what is left of it beyond
            the linear velocity of :mod:`flowprior.couplings.pair_law`; ``"epsilon"``, the source sample x0
            that is noise under N(0, I), from which :meth:`velocity` follows; or another registered one
            (:mod:`flowprior.flow.predictions`).
        model_spec, prior_spec, coupling_spec, path_spec: names and options to rebuild the parts by; those of
            registered components, and of a network of :func:`flowprior.models.build_model`, are read off the
            instances where they are left out.
        encoder: where the flow lives in latents, what turns them into pictures.
        picture_shape: [C, H, W] of those pictures.
        metadata: plain values saved along. What ``train`` writes there says whether the flow can be guided:
            ``metadata["config"]["training"]["condition_dropout"]``; where it is absent, guidance is allowed.
            ``metadata["text_encoder"]`` says which encoder made the embeddings: see :attr:`text_encoder`.

    Raises:
        CouplingError: the prior cannot serve the coupling.
        OptionError: the path is not valid for the prior, or not for the prediction.
    """

    @property
    def text_encoder(self) -> TextEncoder | None:
        """The encoder of texts as conditions: ``flow.text_encoder = "minilm"``, a spec or a text encoder.

        A flow that was trained on data which say what made their embeddings remembers it. None: not known.

        Raises:
            FlowpriorError: no text encoder, or one that cannot be had on this machine.
        """
        return self.words.reader.encoder

    @text_encoder.setter
    def text_encoder(self, encoder: str | TextEncoder | None) -> None:
        self.words.reader.choose(encoder)

    def velocity(
        self,
        x: Tensor,
        t: Tensor,
        cond: Conditions | None = None,
        guidance: float = 1.0,
        negative: Conditions | None = None,
    ) -> Tensor:
        """v(x, t, c) ``[B, *event]``, guided: v_null + guidance (v_c − v_null) (Ho & Salimans 2022).

        Both halves are evaluated in one call on a doubled batch, and count as one evaluation. ``negative``,
        one condition of one row, or some of its parts, takes the place of the null condition.

        Raises:
            OptionError: guidance of a flow without a condition, or of one trained without dropping it.
            InputError: times of another shape.
        """
        if t.dim() > 1:
            raise InputError(
                f"flow.velocity: expected times [B], got {list(t.shape)}; averages are those of "
                "flow.average_velocity(x, begin, end, cond)"
            )
        return self.guided(guidance, negative)(x, t, cond)

    def average_velocity(
        self,
        x: Tensor,
        begin: Tensor,
        end: Tensor,
        cond: Conditions | None = None,
        guidance: float = 1.0,
        negative: Conditions | None = None,
    ) -> Tensor:
        """Return the average of the velocity ``[B, *event]`` from x at ``begin`` to ``end``, ``[B]`` each.

        It follows from v at the beginning and the law of the pairs
        (:meth:`flowprior.couplings.pair_law.PairLaw.average`), or is what the network has learned. Guidance
        is that of :meth:`velocity`.

        Raises:
            OptionError: neither network nor law gives it, or guidance as in :meth:`velocity`.
        """
        return self.guided(guidance, negative).average(x, begin, end, cond)

    def guided(self, guidance: float = 1.0, negative: Conditions | None = None) -> FlowVelocity:
        """Return :meth:`velocity` and :meth:`average_velocity` under this guidance, as samplers take them.

        Raises:
            OptionError: as :meth:`velocity`.
        """
        check_guidance(guidance, None, self.metadata if negative is None else None)
        return FlowVelocity(self.predicted, self.model, self.condition, guidance, negative)

    def sample(self, cond: ConditionInput | None = None, n: int | None = None, **options: Any) -> Tensor:
        """Draw samples ``[B, *event]``; takes what :meth:`solve` takes, except ``trajectory``.

        With a text encoder, captions will do: ``flow.sample(["a sleepy cat"], nfe=15, guidance=2)``.
        """
        return self.solve(cond, n, **options).x

    def solve(
        self,
        cond: ConditionInput | None = None,
        n: int | None = None,
        *,
        x0: Tensor | None = None,
        draft: Tensor | None = None,
        start: float | None = None,
        nfe: int | None = None,
        sampler: str | Sampler | None = None,
        temperature: float | None = None,
        prior_guidance: float | None = None,
        guidance: float = 1.0,
        negative: str | Conditions | Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
        batch_size: int | None = None,
        trajectory: bool = False,
        decode: bool = True,
        group: ProcessGroup | None = None,
    ) -> Solution:
        """Draw samples and report how: evaluations spent, times, trajectory.

        Args:
            cond: one condition for each sample: a tensor, token states, or a mapping of the flow's parts;
                None for a flow without. Texts where a :attr:`text_encoder` is known: a list of one each, or
                one text; in a mapping, too. The empty text is the null condition.
            n: number of samples, where ``cond`` does not say; of one condition, as many.
            x0: source samples ``[B, *event]`` to start from, such as those of :meth:`invert`, in place of
                those that the coupling draws; of a flow in latents ``[B, *state]``, of standardised data
                in the units of the data.
            draft: samples ``[B, *event]`` to change, such as sketches or samples of another flow; of a flow
                in latents their latents, see :meth:`encode`. The solve begins at the time ``start``, with the
                points of the path between source samples and drafts (SDEdit, Meng et al. 2022).
            start: that time, from 0 to 0.999, after which all evaluations are spent; a draft has no effect at
                0, and changes little near 1. It is 1 − ``strength`` in diffusers.
            nfe: evaluations of the velocity. None: 15, or the most below it that a fixed-step sampler can
                spend; adaptive samplers choose their own. 0, with every sampler, is the prior alone: the
                source samples that the same generator starts every other number of evaluations from.
            sampler: a name, ``name:key=value,…`` or an instance; None takes :attr:`default_sampler`.
            temperature: factor of the source samples' distance from the prior's mean, see
                :class:`~flowprior.Sampler`; None takes the sampler's, 1 unless its spec says otherwise.
            prior_guidance: strength of guidance by the prior, which moves the source samples away from the
                mean of all conditions, see :class:`~flowprior.Sampler`; None takes the sampler's.
            guidance: strength of classifier-free guidance; 1 is none, 0 ignores the condition. Others need a
                flow trained with ``condition_dropout``; one without a record of its training is trusted.
            negative: a caption, or a condition of one row, to guide away from in place of the null condition:
                v_negative + guidance (v_c − v_negative). It needs no ``condition_dropout``. Parts that it
                does not name stay those of the sample. The empty caption is the null condition.
            generator: draws the source samples and a stochastic sampler's noise, on the prior's device.
            batch_size: solve in batches of this size. All source samples are drawn first and all noise on the
                way at once, so the samples are the same as in one go (with adaptive samplers within the
                tolerance).
            trajectory: also return the states on the way.
            decode: where the flow lives in latents, give pictures; False gives the latents.
            group: processes that call this together, with the same arguments and generators in the same
                state. Each solves its part of the batches, and gets the samples that one would have solved,
                up to rounding.

        Raises:
            InputError: a condition, ``x0`` or draft that does not fit the flow or is not finite, texts
                without the encoder of its embeddings, or a prior that has learned labels beyond the flow's
                since.
            CouplingError: a temperature, or prior guidance, where the coupling does not know the mean of its
                source.
            OptionError: an impossible ``nfe``, ``start`` or temperature, or one beside ``x0``; ``draft`` or
                ``start`` alone; guidance that is not finite, lacks a condition, or of a flow that was trained
                without dropping it; a negative condition without guidance; an unknown sampler option, or a
                sampler that is not valid for this flow; generators of a group in different states.
        """
        if (draft is None) != (start is None):
            raise OptionError(
                "flow.sample: expected draft and start together, got one of them; give the other"
            )
        check_negative(negative, guidance)
        check_batch_size(batch_size)
        negative = None if isinstance(negative, str) and is_empty(negative) else negative
        check_guidance(guidance, self.condition, self.metadata if negative is None else None)
        away, processes = self._negative(negative), Group(group)
        generator = processes.generator(generator, self.prior.event_dims.device, "flow.sample")
        given = draft if x0 is None else x0
        n = len(given) if given is not None and n is None and not isinstance(cond, str) else n
        cond = self._conditions(cond, n, "flow.sample")
        solver: Sampler = Sampler.registry.resolve(sampler or self.default_sampler)
        solver = solver.with_source(temperature, prior_guidance)
        solver = solver if start is None else solver.from_time(start)
        if nfe != 0:
            parts = self.path, self.prior, self.coupling, self.prediction
            solver = solver.prepare(*parts, generator=generator)
        with torch.no_grad(), evaluating(self.model):
            x0 = self._source(x0, cond, n, "flow.sample", generator, solver.source_options)
            if draft is not None:
                draft = self._inside(given_rows(draft, "draft", self.state_shape, len(x0))).to(x0)
            if draft is not None and start and nfe != 0:
                x0 = self.path.interpolate(x0, draft, x0.new_full((len(x0),), start), generator=generator).x_t
            velocity = self.guided(guidance, away)
            if nfe == 0:
                found = unmoved(x0, trajectory)
            elif solver.stochastic:
                together = in_batches(velocity, batch_size, processes)
                found = solver.solve(together, x0, cond, nfe=nfe, trajectory=trajectory)
            else:
                solve = partial(solver.solve, velocity, nfe=nfe, trajectory=trajectory)
                size = batch_size if solver.adaptive else for_group(batch_size, len(x0), processes)
                found = solve_batches(solve, batches(x0, cond, size), processes)
        return decoded(found, self, batch_size, processes) if decode else found

    def log_prob(
        self,
        x: Tensor,
        cond: ConditionInput | None = None,
        *,
        divergence: str = "exact",
        probes: int = 1,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        method: str = "dopri5",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_nfe: int = 10_000,
        batch_size: int | None = None,
    ) -> Tensor:
        """Log-density log p1(x | c) in nats, ``[B]``, in the dtype of x.

        It can be differentiated where x requires a gradient, through every evaluation of the solve.

        Args:
            x: data ``[B, *event]``; of a flow in latents their latents ``[B, *state]``, see :meth:`encode`,
                whose density it is.
            cond: their conditions, or captions; one for all of them, or one for each.
            divergence: ``"exact"`` (a backward pass for each number of an event, at every evaluation), or
                ``"hutchinson"`` (unbiased, ``probes`` passes).
            probes: random sign vectors of Hutchinson's estimate, drawn once for the whole solve.
            guidance: strength of classifier-free guidance.
            generator: source of the probes.
            method: adaptive method of torchdiffeq, such as ``"dopri5"`` or ``"dopri8"``.
            rtol, atol, max_nfe: tolerances, and evaluations after which to give up.
            batch_size: solve in batches of this size.

        Raises:
            InputError: shape, dtype or condition of x do not fit, or the prior has learned labels beyond the
                flow's since.
            OptionError: an impossible option, or tolerances that cannot be met.
        """
        check_options("flow.log_prob", divergence, method, probes)
        cond = self._scored(x, cond, guidance, "flow.log_prob")
        estimate = partial(estimator, divergence, probes=probes, generator=generator)
        options = {"owner": "log_prob", "method": method, "rtol": rtol, "atol": atol, "max_nfe": max_nfe}
        x = self._inside(x)
        return self._carried(x, cond, guidance, estimate, batch_size, backward=True, **options)[1]

    def sample_and_log_prob(
        self,
        cond: ConditionInput | None = None,
        n: int | None = None,
        *,
        x0: Tensor | None = None,
        divergence: str = "exact",
        probes: int = 1,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        method: str = "dopri5",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_nfe: int = 10_000,
        batch_size: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw samples ``[B, *event]`` and their log-densities log p1(x | c) in nats, ``[B]``, in one solve.

        Both can be differentiated where ``x0`` is given and requires a gradient.

        Args:
            cond, n: as of :meth:`solve`.
            x0: source samples ``[B, *event]`` to start from, in place of those that the coupling draws; of a
                flow in latents ``[B, *state]``, and so are the samples, which ``flow.decode`` makes pictures.
            generator: draws the source samples, as for :meth:`sample`, then the probes.
            divergence, probes, guidance, method, rtol, atol, max_nfe, batch_size: as of :meth:`log_prob`.

        Raises:
            InputError: as :meth:`solve`.
            OptionError: as :meth:`log_prob`.
        """
        owner = "flow.sample_and_log_prob"
        check_options(owner, divergence, method, probes)
        check_guidance(guidance, self.condition, self.metadata)
        n = len(x0) if x0 is not None and n is None and not isinstance(cond, str) else n
        cond = self._conditions(cond, n, owner)
        x0 = self._source(x0, cond, n, owner, generator)
        estimate = partial(estimator, divergence, probes=probes, generator=generator)
        options = {"owner": owner, "method": method, "rtol": rtol, "atol": atol, "max_nfe": max_nfe}
        z, densities = self._carried(x0, cond, guidance, estimate, batch_size, backward=False, **options)
        return self._outside(z), densities

    def invert(
        self,
        x: Tensor,
        cond: ConditionInput | None = None,
        *,
        guidance: float = 1.0,
        method: str = "dopri5",
        rtol: float = 1e-5,
        atol: float = 1e-5,
        max_nfe: int = 10_000,
        batch_size: int | None = None,
    ) -> Tensor:
        """Return the source samples x0 ``[B, *event]`` that the flow carries to x.

        ``flow.sample(cond, x0=x0)`` gives x back.

        Where the velocity turns quickly, as a network's may after a short training, x comes back less exact
        than the tolerances of each step; take smaller ones.

        Args:
            x: data ``[B, *event]``; of a flow in latents their latents, see :meth:`encode`.
            cond: their conditions, or captions.
            guidance: strength of classifier-free guidance.
            method, rtol, atol, max_nfe, batch_size: as of :meth:`log_prob`.

        Raises:
            InputError: as :meth:`log_prob`.
            OptionError: as :meth:`log_prob`.
        """
        check_options("flow.invert", "exact", method, 1)
        cond = self._scored(x, cond, guidance, "flow.invert")
        options = {"method": method, "rtol": rtol, "atol": atol, "max_nfe": max_nfe}
        velocity = self.guided(guidance)
        with torch.no_grad(), evaluating(self.model):
            parts = batches(self._inside(x), cond, batch_size)
            solve = partial(carry, velocity, backward=True, owner="invert", **options)
            return self._outside(torch.cat([solve(part, c, None)[0] for part, c in parts]))

    def _carried(
        self,
        x: Tensor,
        cond: Conditions | None,
        guidance: float,
        estimate: Callable[[Tensor], Divergence],
        batch_size: int | None,
        *,
        backward: bool,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """The other ends of x, carried forward or backward, and log p1 of the data ``[B]``."""
        velocity, ends, densities = self.guided(guidance), [], []
        score = partial(self.coupling.source_log_prob, self.prior)
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad), evaluating(self.model):
            for part, c in batches(x, cond, batch_size):
                known = None if backward else score(part, c)  # first, so that it is refused before the solve
                end, change = carry(velocity, part, c, estimate(part), backward=backward, **options)
                ends.append(end)
                densities.append((score(end, c) if known is None else known).to(x.dtype) + change)
        return torch.cat(ends), self._log_scale(torch.cat(densities))

    def _source(
        self,
        x0: Tensor | None,
        cond: Conditions | None,
        n: int | None,
        owner: str,
        generator: torch.Generator | None,
        options: SourceOptions = PLAIN,
    ) -> Tensor:
        """The source samples that a solve starts from, drawn or the caller's own, on the prior's device."""
        if x0 is None:
            with torch.no_grad():
                x0 = draw_source(self.coupling, self.prior, cond, n, options=options, generator=generator)
        else:
            x0 = self._inside(
                given_source(x0, self.state_shape, n if cond is None else len(cond), options, owner)
            )
        return x0.to(self.prior.event_dims.device, self.dtype or x0.dtype)

    def _scored(self, x: Tensor, cond: Any, guidance: float, owner: str) -> Conditions | None:
        """Check data that are carried back and their guidance, and return their condition, checked."""
        check_guidance(guidance, self.condition, self.metadata)
        dtype, shape = self.dtype or x.dtype, ", ".join(map(str, self.state_shape))
        if x.shape[1:] != self.state_shape or x.dtype != dtype or not x.is_floating_point():
            raise InputError(
                f"{owner}: expected x of shape [B, {shape}] and {dtype}, "
                f"got {list(x.shape)} and {x.dtype}; cast x, or the flow with flow.double() or flow.float()"
                + (", and give it flow.encode(x)" if self.encoder is not None else "")
            )
        check_finite(x, owner)
        return self._conditions(cond, len(x), owner)

    def save(self, directory: FilePath | str) -> None:
        """Write the flow to a directory of ``flow.json`` and ``weights-DIGEST.safetensors``.

        The directory may be absent, empty, or a saved flow, whose own two files are replaced: at any moment
        it holds the old flow or the new one. A model card follows, ``README.md``, which nothing reads to load
        the flow; one that you wrote or edited stays as it is, and so does everything else in the directory.

        Raises:
            CheckpointError: the directory holds something else, it cannot be written, a part could not be
                rebuilt from what would be, or a tensor holds NaN or infinite values.
            OptionError: another process is saving there.
        """
        save_flow(self, expanded(directory))

    @classmethod
    def load(
        cls,
        directory: FilePath | str,
        model: nn.Module | None = None,
        device: torch.device | str = "cpu",
        *,
        prior: Prior | None = None,
    ) -> Flow:
        """Read a flow that :meth:`save` wrote, or that a run left.

        Args:
            directory: the saved flow, or the directory of a run: its finished flow, else its newest
                checkpoint with a warning that says so.
            model: the network to load the weights into, where it is none of flowprior's own.
            device: where to put it.
            prior: an unfitted one to load into, where parts of it are your own, such as the network of
                ``around``.

        Raises:
            CheckpointError: missing, truncated, corrupted, of a newer version, files or tensors that do not
                fit together, or tensors that hold NaN or infinite values.
        """
        return load_flow(cls, expanded(directory), model, prior).to(device)

    def _negative(self, negative: Any) -> Conditions | None:
        """The condition of one row to guide away from, or some of its parts; None for the null condition."""
        if negative is None:
            return None
        value = as_value(self.words.negative(negative, "flow.sample"))
        if isinstance(value, Parts):
            value = Parts(
                {name: self.condition[name].check(part, "flow.sample") for name, part in value.items()}
            )
        else:
            value = self.condition.check(value, "flow.sample")
        if value is None or len(value) != 1:
            got = None if value is None else len(value)
            raise InputError(f"flow.sample: expected one negative condition, got {got}")
        check_finite_condition(value, "flow.sample: negative")
        value = moved(value, self.prior.event_dims.device)
        if isinstance(value, Parts) and value.names != self.condition.names:
            return value
        return unseen_as_null(self, value, "flow.sample")

    def _conditions(self, cond: Any, n: int | None, owner: str) -> Conditions | None:
        """The condition, cond once, on the prior's device; texts are encoded."""
        cond = self.condition.check(self.words.read(cond, n, owner), owner)
        if cond is None:
            if n is None or n < 0:
                raise InputError(f"{owner}: this flow has no condition; expected n >= 0, got n={n}")
            return None
        if n is not None and len(cond) == 1:
            cond = rows(cond, torch.zeros(n, dtype=torch.long))
        if n is not None and n != len(cond):
            raise InputError(f"{owner}: expected one condition for each of {n} samples, got {len(cond)}")
        check_finite_condition(cond, owner)
        cond = self.encode_condition(moved(cond, self.prior.event_dims.device))
        return unseen_as_null(self, cond, owner)

    def _inside(self, x: Tensor) -> Tensor:
        """Return events as what the flow carries, where the encoder keeps their density; else as they are."""
        return self.encoder.encode(x) if self.encoder is not None and self.encoder.keeps_density else x

    def _outside(self, z: Tensor) -> Tensor:
        """Return what the flow carries as events, where the encoder keeps their density; else as it is."""
        return self.encoder.decode(z) if self.encoder is not None and self.encoder.keeps_density else z

    def _log_scale(self, densities: Tensor) -> Tensor:
        """Return log-densities of what the flow carries as those of events, where they have some."""
        if self.encoder is None or not self.encoder.keeps_density:
            return densities
        return densities - self.encoder.log_scale().to(densities)


def draw(flow: Flow, cond: Conditions | None, n: int | None, *, seed: int, **options: Any) -> Solution:
    """Return samples to be shown, checked; one seed gives one set of source samples, whatever ``nfe``.

    Raises:
        InputError: samples that are not finite.
    """
    generator = torch.Generator(flow.prior.event_dims.device).manual_seed(seed)
    solution = flow.solve(cond, n, generator=generator, batch_size=DRAWN_AT_ONCE, **options)
    check_samples(solution.x, "sample")
    return solution


def prior_means(flow: Flow, cond: Conditions | None) -> Tensor:
    """Return the prior's mean for each condition, as events ``[B, *event]``; one without a condition."""
    device = flow.prior.event_dims.device
    cond = flow.encode_condition(moved(cond, device))
    return flow.decode(flow.prior.mean(None, 1) if cond is None else flow.prior.mean(cond))
