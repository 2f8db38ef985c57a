"""Prior: the distribution p0(x0 | c) that a flow starts from.

Notation used by every prior: B samples, event shape ``*event`` with D numbers, C conditions,
K components, rank r. Inside, events are flat rows ``[B, D]``.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from flowprior.conditions import Conditions, Parts, TokenStates
from flowprior.conditions.rows import as_value, count_of, flat, read_part
from flowprior.conditions.values import describe_value
from flowprior.display.shown import counted, shape_of
from flowprior.errors import InputError, NotFittedError
from flowprior.ops.last_results import LastResults
from flowprior.priors.checks import on_cpu, one_thread
from flowprior.priors.frame import DiagonalFrame, Frame, latent_noise
from flowprior.priors.old_formats import upgrade
from flowprior.priors.saved import load_prior, save_prior, unfitted
from flowprior.priors.seen_conditions import POOLED, SeenConditions
from flowprior.progress.stages import showing, shows_progress, stage
from flowprior.registry import Registered, Registry
from flowprior.registry.registry import spec_of
from flowprior.storage.user_paths import expanded
from flowprior.streams.batches import CheckedBatches, FitData


class Prior(nn.Module, Registered, abc.ABC):
    """Base class of priors p0(x0 | c).

    A prior is an ``nn.Module``: what it learned lives in parameters and buffers, so ``state_dict``,
    ``.to()`` and checkpoints carry it. The constructor only stores options; :meth:`fit` learns.
    Subclasses implement :meth:`_fit`, :meth:`_sample`, :meth:`_log_prob`, :meth:`_mean`, and with latent
    variables :meth:`_infer`. A prior that depends on the condition calls ``self.seen.learn(data, generator)``
    in its fit: conditions are then checked, and its marginal source is the average over those that it saw.

    Every registered prior has the option ``reads`` beside its own; methods of subclasses are given the part
    that it says, a tensor.

    Args:
        reads: name of the part that is read, where a condition has several; empty for the only part of a kind
            that the prior takes.
    """

    registry: ClassVar[Registry[Any]] = Registry("prior", "flowprior.priors", shared={"reads": ""})
    takes: tuple[str, ...] = ("labels", "embeddings", "tensor")
    """Kinds of condition that the prior can read; none for one that reads no condition."""
    reads: str = ""
    has_latents: bool = False
    """True if, with these options, there are latent variables that :meth:`infer` can draw."""
    takes_events: bool = False
    """True if a condition or a file gives the prior values in the units of events."""
    has_density: bool = True
    """True if :meth:`log_prob` is available."""
    has_spread: bool = False
    """True if :meth:`spread` is available with these options, once the prior is fitted."""
    suited_coupling: str = "ot"
    """The coupling that ``train`` takes where none is named: ``posterior`` where the distribution of inferred
    latents is fitted, ``condot`` where source samples lie as the data do, so that random pairs are close. For
    these two the network predicts what the law of the pairs leaves."""

    fitted_to: str = ""
    """The data that ``fit`` has read, in words, which ``save`` keeps; empty if they are not known."""

    def __init__(self, seen: SeenConditions | None = None) -> None:
        super().__init__()
        self.seen = SeenConditions() if seen is None else seen
        # -1 marks an unfitted prior; a buffer, so that the shape travels in the state_dict.
        self.event_dims = nn.Buffer(torch.full((1,), -1, dtype=torch.long))
        self._mean_of_all = LastResults()

    # -- what a prior is asked for ------------------------------------------------------------

    def fit(
        self,
        data: FitData,
        *,
        generator: torch.Generator | None = None,
        progress: bool | None = None,
    ) -> Prior:
        """Learn the prior from ``data`` and return ``self``.

        Args:
            data: re-iterable of batches (x1 ``[B, *event]``, c) with c labels ``[B]`` or ``[B, 1]``
                (integers), embeddings ``[B, E]``, a tensor ``[B, …]`` such as a picture, a mapping of named
                parts, or None; or one tuple (x1, c), or
                x1 alone, as tensors or NumPy arrays; a :class:`flowprior.data.Data`, or a map-style torch
                Dataset. Batches are streamed: no prior keeps the data set.
            generator: source of the randomness of the fit (initialisation, mapper training), on any device.
            progress: show a line about a fit that takes more than a second; None does, unless the
                environment variable ``FLOWPRIOR_PROGRESS`` is 0.

        Raises:
            InputError: no data, non-finite values, shapes or dtypes that change between batches, or a
                condition of several parts of which ``reads`` does not say which one.
        """
        shown, title = shows_progress(progress), f"fit {self.name}"
        # Fits within this one show nothing of their own.
        with (
            showing(shown),
            stage(title, everywhere=True, after=1.0) as fitting,
            showing(False),
            one_thread(),
        ):

            def told(rows: int) -> None:
                fitting.update(rows, f"{counted(rows, 'row')} read")

            stream = CheckedBatches(data, self.name, partial(self.reading, method="fit"), told)
            first, _ = stream.peek()
            self._fit(stream, on_cpu(generator))
            self.event_dims = torch.tensor(first.shape[1:], dtype=torch.long, device=self.event_dims.device)
            self.seen.fit_pooled(stream, lambda c, *n: self._sample(self._check_cond(c, "fit"), *n))
            fitted_to = stream.describe()
            fitting.update(0, f"fitted to {fitted_to}")
        self.fitted_to = fitted_to
        return self

    def sample(
        self,
        cond: Conditions | Mapping[str, Any] | None = None,
        n: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x0 ``[B, *event]``, one for each row of ``cond``; for the null condition from the marginal.

        Args:
            cond: labels ``[B]``, embeddings ``[B, E]``, named parts, or None.
            n: number of samples; needed only where ``cond`` is None.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: unseen labels, or a condition of another kind than the fitted one.
        """
        read, n = self._asked(cond, n, "sample")
        return self._sample_any(read, n, generator).reshape(n, *self.event_dims.tolist())

    def log_prob(self, x: Tensor, cond: Conditions | Mapping[str, Any] | None = None) -> Tensor:
        """Log-density log p0(x | c) in nats, ``[B]``, for x ``[B, *event]``; at least in float32.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: x of another event shape, unseen labels, or not one condition for each row.
        """
        rows, read = self._rows_asked(x, cond, "log_prob")
        null = self.seen.null_rows(read)
        if read is None or null is None:
            return self._log_prob(rows, read)
        known = self.seen.without_null(read)[1]
        return torch.where(null, self._log_prob_marginal(rows), self._log_prob(rows, known))

    def mean(self, cond: Conditions | Mapping[str, Any] | None = None, n: int | None = None) -> Tensor:
        """Mean of p0(· | c), ``[B, *event]``, one for each row of ``cond``."""
        read, n = self._asked(cond, n, "mean")
        null = self.seen.null_rows(read)
        if read is None or null is None:
            return self._mean(read, n).reshape(n, *self.event_shape)
        known = self._mean(self.seen.without_null(read)[1], n)
        return torch.where(null[:, None], self.marginal_mean().flatten(), known).reshape(n, *self.event_shape)

    def marginal_mean(self) -> Tensor:
        """Mean of the marginal source Σ_c p(c) p0(·|c), ``[*event]``, p(c) as seen by fit.

        Of a plug-in prior that does not say it, the mean over 1,024 conditions that fit saw.
        """
        self._require_fitted("marginal_mean")
        state = (*self.buffers(), *self.parameters())
        with torch.no_grad():
            mean = self._mean_of_all.of(lambda *_: self.seen.mean_of_all(self._mean), *state)
        return mean.reshape(self.event_shape)

    def sample_marginal(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw x0 ``[n, *event]`` from the marginal source Σ_c p(c) p0(·|c), p(c) as seen by fit."""
        self._require_fitted("sample_marginal")
        if self.seen.is_pooled:
            return self.seen.sample_pooled(n, generator).reshape(n, *self.event_shape)
        return self.sample(self.seen.draw(n, generator), n, generator=generator)

    def log_prob_marginal(self, x: Tensor) -> Tensor:
        """Log-density of the marginal source, ``[B]``, for x ``[B, *event]``."""
        self._require_fitted("log_prob_marginal")
        check_events(f"{self.name}.log_prob_marginal", x, self.event_shape)
        return self._log_prob_marginal(event_rows(x))

    def reading(self, cond: Conditions | None, method: str = "reading") -> Tensor | None:
        """The part of a condition that this prior reads: labels ``[B]``, or embeddings ``[B, E]``.

        A tensor of another shape, such as a picture, is read as a row of its numbers, but by ``"fit"``.

        Raises:
            InputError: no part of the name :attr:`reads` or of a kind that the prior takes, or several.
        """
        if method == "fit" and self.reads and cond is not None and not isinstance(cond, Parts):
            raise InputError(
                f"{self.name}.fit: reads='{self.reads}' names a part, but the condition has none; leave it "
                "out"
            )
        part = read_part(cond, self.reads, self.takes, f"{self.name}.{method}", self.name)
        if part is None or method == "fit":
            return part
        self._check_shape(part, method)
        return flat(part)

    def unseen_rows(self, cond: Conditions | None) -> Tensor | None:
        """Return the rows of labels that fit did not see, which start from the marginal: bool ``[B]``.

        None where none has, and always unless the prior has the option ``unseen=pooled``. A flow takes such
        labels for the null condition.
        """
        if self.seen.unseen != POOLED:
            return None
        self._require_fitted("sample")
        return self.seen.unseen_rows(self.reading(cond, "sample"))

    def infer(
        self,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw x0 ``[B, *event]`` from the latents inferred from x1: h ~ p(h | x1, c), x0 ~ p0(x0 | h, c).

        The coupling ``posterior`` pairs by it.

        Args:
            x1: data ``[B, *event]``.
            cond: labels ``[B]``, embeddings ``[B, E]``, named parts, or None.
            generator: source of the randomness.

        Raises:
            NotFittedError: the prior was not fitted.
            InputError: the prior has no latent variables (see :attr:`has_latents`), or x1 is not finite.
        """
        self._require_fitted("infer")
        if not self.has_latents:
            raise InputError(
                f"{self.name}.infer: this prior has no latent variables to infer from a datum; "
                "use the coupling 'condot', or a prior with components, a low-rank factor or a latent z"
            )
        rows, read = self._rows_asked(x1, cond, "infer")
        check_finite(x1, f"{self.name}.infer")
        return self._infer(rows, read, generator).reshape(x1.shape)

    def smoothed(
        self,
        x0: Tensor,
        x1: Tensor,
        cond: Conditions | Mapping[str, Any] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Put the prior's own pairs in the place of some of (x0, x1), where conditions have few examples.

        Args:
            x0: source samples ``[B, *event]``, inferred from x1.
            x1: data ``[B, *event]``.
            cond: as of :meth:`infer`.
            generator: source of the randomness; nothing is drawn where no condition has few examples.

        Returns:
            (x0, x1); those that were given where every condition has enough examples.
        """
        return x0, x1

    def inferred_slope(self, frame: Frame | DiagonalFrame, cond: Tensor | None) -> Tensor:
        """Return the covariance ``[B, r]`` of h0 and h1 in the pairs of :meth:`infer` and :meth:`smoothed`.

        Args:
            frame: :meth:`spread` of the rows.
            cond: the condition of the rows.
        """
        return latent_noise(frame.spread)[0]

    def save(self, directory: Path | str) -> None:
        """Write the fitted prior alone to a directory of ``prior.json`` and ``prior-DIGEST.safetensors``.

        The directory may be absent, empty, or a saved prior, which is replaced.

        Raises:
            NotFittedError: the prior was not fitted.
            CheckpointError: the directory holds something else or cannot be written, the prior is not
                registered, or a tensor holds NaN or infinite values.
            OptionError: another process is saving there.
        """
        self._require_fitted("save")
        save_prior(self, spec_of(self.registry, self), expanded(directory))

    @classmethod
    def load(
        cls, directory: Path | str, device: torch.device | str = "cpu", prior: Prior | None = None
    ) -> Prior:
        """Read a prior that :meth:`save` wrote, of the class that was saved.

        Args:
            directory: of the saved prior.
            device: where to put it.
            prior: an unfitted one to read into, where parts of it are your own, as the network of ``around``.

        Raises:
            CheckpointError: missing, damaged, of a newer version, or files that do not belong together.
        """
        return load_prior(partial(unfitted, cls.registry, prior), expanded(directory)).to(device)

    def spread(self, cond: Tensor | None, n: int) -> Frame | DiagonalFrame | None:
        """Return means and variances of source samples and data under n conditions, null ones included.

        Args:
            cond: what :meth:`reading` gives: labels ``[n]``, embeddings ``[n, E]``, or None. Not checked.
            n: the number of rows.

        Returns:
            None where :attr:`has_spread` is False.
        """
        return None

    @property
    def kept_data(self) -> str:
        """Say in words which training data the prior holds as they were; empty where it holds none.

        Files and model cards say it, and ``push_to_hub`` refuses to publish it unless it is told to.
        """
        children = (child for child in self.children() if isinstance(child, Prior | SeenConditions))
        return "; ".join(filter(None, (child.kept_data for child in children)))

    # -- what a prior says of itself ----------------------------------------------------------

    def __repr__(self) -> str:
        return Registered.__repr__(self)  # not that of a module, which tells of its layers

    def _status(self) -> str:
        if "event_dims" not in self.__dict__.get("_buffers", {}) or not self.is_fitted:
            return "not fitted"
        events = self.fitted_to or f"events of shape {shape_of(self.event_shape)}"
        numbers = sum(value.numel() for value in (*self.parameters(), *self.buffers()))
        return f"fitted to {events}, {counted(numbers, 'number')}"

    @property
    def is_fitted(self) -> bool:
        """True if ``fit`` or ``load_state_dict`` has given the prior its state."""
        return min(self.event_dims.tolist(), default=0) >= 0

    @property
    def event_shape(self) -> torch.Size:
        """Shape of one sample."""
        self._require_fitted("event_shape")
        return torch.Size(self.event_dims.tolist())

    def __getattr__(self, name: str) -> Any:
        """Return as nn.Module does, which would hide the error of an unfitted prior's property."""
        if name == "event_shape":
            self._require_fitted(name)
        return super().__getattr__(name)

    def _require_fitted(self, method: str) -> None:
        if not self.is_fitted:
            raise NotFittedError(f"{self.name}.{method}: the prior is not fitted; call prior.fit(data) first")

    # -- what a subclass implements, on flat rows [B, D] --------------------------------------

    @abc.abstractmethod
    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None: ...

    @abc.abstractmethod
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor: ...

    @abc.abstractmethod
    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor: ...

    @abc.abstractmethod
    def _mean(self, cond: Tensor | None, n: int) -> Tensor: ...

    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Draw x0 ``[B, D]`` for rows x1 ``[B, D]``; of a prior that has latents."""
        raise NotImplementedError

    # -- conditions ---------------------------------------------------------------------------

    def _sample_any(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        """Draw as :meth:`_sample` does; null conditions start from the marginal source."""
        null = self.seen.null_rows(cond) if self.seen.is_pooled else None
        if null is None:
            return self._sample(self.seen.with_null_drawn(cond, generator), n, generator)
        drawn = self.seen.sample_pooled(n, generator)
        return torch.where(null[:, None], drawn, self._sample(cond, n, generator))

    def _log_prob_marginal(self, x: Tensor) -> Tensor:
        return self.seen.log_prob_of_all(x, self._log_prob)

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        """Make the networks, or the priors inside this one, that a checkpoint of these tensors has."""

    def _check_shape(self, part: Tensor, method: str) -> None:
        """Raise InputError where ``part``, not flat yet, has another shape than the fitted conditions."""

    def _check_cond(self, cond: Tensor | None, method: str) -> Tensor | None:
        """Return ``cond`` in the form the prior works with, or raise InputError."""
        return self.seen.check(cond, f"{self.name}.{method}")

    def _checked(self, cond: Conditions | Mapping[str, Any] | None, method: str) -> Tensor | None:
        """The part that is read, in the form the prior works with."""
        return self._check_cond(self.reading(as_value(cond), method), method)

    # -- shared plumbing ----------------------------------------------------------------------

    @property
    def is_standard_normal(self) -> bool:
        """True if p0(·|c) is N(0, I) whatever c; score-based paths accept nothing else."""
        return False

    def _asked(
        self, cond: Conditions | Mapping[str, Any] | None, n: int | None, method: str
    ) -> tuple[Tensor | None, int]:
        """The condition in the form the prior works with, and the number of samples."""
        self._require_fitted(method)
        n = count_of(self.name, as_value(cond), n)
        return self._checked(cond, method), n

    def _rows_asked(
        self, x: Tensor, cond: Conditions | Mapping[str, Any] | None, method: str
    ) -> tuple[Tensor, Tensor | None]:
        """Events as rows ``[B, D]``, and their condition in the form the prior works with."""
        self._require_fitted(method)
        check_events(f"{self.name}.{method}", x, self.event_shape, as_value(cond))
        return event_rows(x), self._checked(cond, method)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Give buffers the checkpoint's shapes first: an unfitted prior does not know them."""
        self.fitted_to = ""
        upgrade(self, state_dict, prefix)
        self._make_parts(state_dict, prefix)
        for place, module in self.named_modules():
            for key, buffer in list(module._buffers.items()):
                saved = state_dict.get(prefix + ".".join(filter(None, (place, key))))
                if buffer is not None and saved is not None and saved.shape != buffer.shape:
                    module._buffers[key] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def event_rows(x: Tensor) -> Tensor:
    """Events as rows ``[B, D]``, in float32 where they come in half precision."""
    return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32))


def check_events(owner: str, x: Tensor, event_shape: Sequence[int], cond: Conditions | None = None) -> None:
    """Check events x ``[B, *event]``, and that there is one condition for each of them.

    Raises:
        InputError: what was expected, and what came; ``owner`` is named.
    """
    if x.shape[1:] != torch.Size(event_shape) or not x.is_floating_point():
        event = ", ".join(map(str, event_shape))
        got = f"{x.dtype} of shape {list(x.shape)}"
        raise InputError(f"{owner}: expected floating-point x of shape [B, {event}], got {got}")
    expected = f"{owner}: expected one condition for each row, x has {len(x)} rows but cond has"
    if isinstance(cond, Tensor) and cond.shape[:1] != x.shape[:1]:
        raise InputError(f"{expected} shape {list(cond.shape)}")
    if isinstance(cond, Parts | TokenStates) and len(cond) != len(x):
        raise InputError(f"{expected} {len(cond)} ({describe_value(cond)})")


def check_finite(x: Tensor, method: str) -> None:
    """Refuse rows ``[B, *event]`` with NaN or infinity; one sum where all is well.

    Raises:
        InputError: how many rows hold some.
    """
    if bool(torch.isfinite(x.detach().sum())):
        return
    bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
    if bad:
        raise InputError(
            f"{method}: expected finite x, got NaN or infinity in {bad} of {len(x)} rows; clean or drop them"
        )
