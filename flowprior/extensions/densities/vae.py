"""The prior ``vae``: x0 = μ_c + g(z, c) + ψ^½ ε, z ~ r(z | c) (Kingma & Welling 2014).

    log p0(x | c) ≥ E_q [log N(x; μ_c + g(z, c), ψ)] − KL(q(z | x, c) ‖ N(0, I))

is what fit maximises, with r = N(0, I); ψ is diagonal and learned with the networks (σ-VAE, Rybkin et al.
2021), then set to the mean square of held-out residuals. The latents inferred from data never quite follow
N(0, I), least where the data have modes, so that draws from it miss the data's spread and the shares of the
modes, and source samples inferred from data lie apart from drawn ones. Hence r is fitted afterwards, to
inferred latents, as a mixture of Gaussians (ex-post density estimation: Dai & Wipf 2019; Ghosh et al. 2020,
sec. 4).

The density has no closed form: ``log_prob`` is the bound by importance weights of S draws of q (Burda et al.
2016), which rises to the density as S grows. The draws are the same for every row and every call, so the
bound is a function of x; as they are fixed, a mean over rows can lie a little above the density's, the less
so the more draws.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from flowprior.extensions.densities.network import VaeNetwork, quasi_normal
from flowprior.mixtures.moments import ConditionMoments
from flowprior.ops.mixture import LOG_2PI
from flowprior.ops.operators import normal
from flowprior.priors.base import Prior
from flowprior.priors.gmm import GmmPrior
from flowprior.priors.holdout import Holdout
from flowprior.priors.network_training import NetworkTraining, train_network
from flowprior.priors.subspace_prior import InferredLatents
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers
from flowprior.streams.batches import Batch, CheckedBatches

OWNER = "prior 'vae'"
LEAST_NOISE = 0.1
"""The lower bound on ψ, as a share of its mean, as in the low-rank priors."""
LATENT_FLOOR = 1e-3
"""The number that is added to the latents' variances, which are about 1."""
LATENT_TOLERANCE, LATENT_PASSES = 0.02, 30
"""The gain of log-likelihood below which EM over the latents stops, and its largest number of passes."""
MEAN_NODES = 4096
"""The number of quasi-random draws behind the mean."""
CHUNK = 4096
"""The number of rows that are decoded at a time."""


@Prior.register("vae", option_aliases={"shrinkage": "latent_shrinkage"})
class VaePrior(Prior):
    """A small conditional variational autoencoder; its log_prob is a lower bound.

    Conditions are labels, embeddings or None.

    Args:
        latent: numbers in z.
        components: K, Gaussians in the mixture r(z | c) of each label; embeddings share one mixture.
        latent_shrinkage: how many examples' worth of the pooled latents' moments are added to each of them.
        width: channels of the convolutions; hidden layers are eight times as wide.
        steps: optimiser steps.
        batch_size: examples in a step.
        lr: peak learning rate of AdamW.
        holdout: share of the examples kept from training, to choose the step whose weights stay and to
            estimate ψ. Which ones depends on what they hold, not on their place, so a loader may shuffle.
        reg_covar: added to the diagonal ψ of the covariance.
        importance: S, draws behind the bound that ``log_prob`` returns.
    """

    has_latents: bool = True
    network: VaeNetwork

    def __init__(
        self,
        latent: int = 32,
        components: int = 10,
        latent_shrinkage: float = 2.0,
        width: int = 32,
        steps: int = 2000,
        batch_size: int = 128,
        lr: float = 2e-3,
        holdout: float = 0.1,
        reg_covar: float = 1e-6,
        importance: int = 64,
    ) -> None:
        super().__init__()
        check_counts(
            OWNER,
            latent=latent,
            components=components,
            width=width,
            steps=steps,
            batch_size=batch_size,
            importance=importance,
        )
        check_numbers(
            OWNER,
            latent_shrinkage=(latent_shrinkage, 0, 1e12),
            lr=(lr, 1e-12, 1e6),
            holdout=(holdout, 0, 0.5),
            reg_covar=(reg_covar, 1e-12, 1e12),
        )
        self.latent = latent
        self.components = components
        self.latent_shrinkage = latent_shrinkage
        self.width = width
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.holdout = holdout
        self.reg_covar = reg_covar
        self.importance = importance
        self.latents = GmmPrior(
            components,
            "full",
            reg_covar=LATENT_FLOOR,
            shrinkage=latent_shrinkage,
            tol=LATENT_TOLERANCE,
            max_iter=LATENT_PASSES,
        )
        self.latents.speaker = self.name
        self.register_module("network", None)  # made by fit, or of a file
        # Centres μ_c and means of the prior, [C, D]; one row where the condition is no label.
        self.loc = nn.Buffer(torch.empty(0))
        self.average = nn.Buffer(torch.empty(0))

    # -- fit ----------------------------------------------------------------------------------

    def _fit(self, data: CheckedBatches, generator: torch.Generator | None) -> None:
        first, _ = data.peek()
        self.seen.learn(data, generator)
        labelled = self.seen.has_labels
        moments = ConditionMoments.over((x, cond if labelled else None) for x, cond in data)
        self.loc = moments.mean.to(first)
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self.network = self._build(first.shape[1:], seed).to(first)
        self._set_noise(moments.variance().mean(0).to(first) + self.reg_covar)
        options = NetworkTraining(self.steps, self.batch_size, self.lr)
        split = Holdout(data, self.holdout)
        train_network(self.network, self._loss, split, options, generator)
        self._set_noise(self._residual_noise(split, generator))
        seed = int(torch.randint(1 << 62, (), generator=generator))
        self.latents.fit(InferredLatents(data, self._latents_of, seed), generator=generator)
        self.average = self.loc.clone()  # under embeddings each one's mean is found when it is asked for
        for known in {"labels": list(self.seen.rows), "none": [None]}.get(self.seen.condition.kind, []):
            self.average[0 if known is None else known] += self._decoded_mean(known)

    def _build(self, event_shape: torch.Size, seed: int) -> VaeNetwork:
        """Build the network before training, or before its parameters are loaded."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = VaeNetwork(event_shape, self.seen.condition, self.latent, self.width)
        return network.requires_grad_(False)

    def _loss(self, x: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Return the negative evidence bound in nats per dimension, with one draw of z for each row."""
        centre = self.loc[self._rows(cond, len(x))]
        mean, log_variance = self.network.encode(x - centre, cond)
        noise = torch.randn(mean.shape, generator=generator, dtype=x.dtype).to(x.device)
        z = mean + (0.5 * log_variance).exp() * noise
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        density = _diagonal_log_density(x - centre - self.network.decode(z, cond), self._noise())
        return (divergence - density).mean() / x.shape[1]

    def _noise(self) -> Tensor:
        """Return ψ ``[D]``, bounded below, so that near-constant coordinates do not dominate the fit."""
        noise = self.network.log_noise.exp()
        return torch.maximum(noise, LEAST_NOISE * noise.mean()) + self.reg_covar

    @torch.no_grad()
    def _set_noise(self, noise: Tensor) -> None:
        learned = (noise - self.reg_covar).clamp_min(torch.finfo(noise.dtype).tiny)
        self.network.log_noise.copy_(learned.log())

    @torch.no_grad()
    def _residual_noise(self, data: Holdout, generator: torch.Generator | None) -> Tensor:
        """Return the decoder's mean squared error on held-out rows, or on all rows if none are held out."""
        total, count = torch.zeros_like(self.network.log_noise, dtype=torch.float64), 0
        for x, cond in data.rows(held_out=not data.is_empty):
            noise = torch.randn(len(x), self.latent, generator=generator, dtype=x.dtype).to(x.device)
            centre = self.loc[self._rows(cond, len(x))]
            rest = x - centre - self.network.decode(self._encoded(x, cond, noise), cond)
            total += rest.double().square().sum(0)
            count += len(x)
        return (total / count).to(self.network.log_noise) + self.reg_covar

    def _latents_of(self, x: Tensor, cond: Tensor | None, generator: torch.Generator) -> Batch:
        noise = torch.randn(len(x), self.latent, generator=generator, dtype=x.dtype).to(x.device)
        return self._encoded(x, cond, noise), self._latents_cond(cond)

    @torch.no_grad()
    def _decoded_mean(self, cond: Tensor | None) -> Tensor:
        """Return E_z[g(z, c)] ``[D]`` under one condition, over quasi-random z of each component."""
        row = int(cond) if cond is not None and self.seen.has_labels else 0
        nodes = quasi_normal(-(-MEAN_NODES // self.components), self.latent, self.loc)
        conds = None if cond is None else cond.expand(len(nodes), *cond.shape)
        total = self.loc.new_zeros(self.loc.shape[1], dtype=torch.float64)
        factors = self.latents.get_buffer("cholesky")[row]
        shares = self.latents.logits[row].softmax(0)
        for share, mean, factor in zip(shares, self.latents.loc[row], factors, strict=True):
            total += share * self.network.decode(mean + nodes @ factor.mT, conds).double().mean(0)
        return total.to(self.loc)

    # -- use ----------------------------------------------------------------------------------

    @torch.no_grad()
    def _sample(self, cond: Tensor | None, n: int, generator: torch.Generator | None) -> Tensor:
        epsilon = normal(n, self.loc.shape[1], like=self.loc, generator=generator)
        return self._place(
            self.latents.sample(self._latents_cond(cond), n, generator=generator), cond, epsilon
        )

    @torch.no_grad()
    def _infer(self, x1: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Draw z ~ q(z | x1, c) and x0 = μ_c + g(z, c) + ψ^½ ε."""
        x1 = x1.to(self.loc)
        epsilon = normal(*x1.shape, like=self.loc, generator=generator)
        noise = normal(len(x1), self.latent, like=self.loc, generator=generator)
        return self._place(self._encoded(x1, cond, noise), cond, epsilon)

    def _encoded(self, x: Tensor, cond: Tensor | None, noise: Tensor) -> Tensor:
        """Return z ~ q(z | x, c) ``[B, latent]`` from normal ``noise`` ``[B, latent]``."""
        mean, log_variance = self.network.encode(x - self.loc[self._rows(cond, len(x))], cond)
        return mean + (0.5 * log_variance).exp() * noise

    def _place(self, z: Tensor, cond: Tensor | None, epsilon: Tensor) -> Tensor:
        centre = self.loc[self._rows(cond, len(epsilon))]
        return centre + self.network.decode(z, cond) + self._noise().sqrt() * epsilon

    def _log_prob(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """Return log (1/S) Σ_s p(x, z_s | c) / q(z_s | x, c), z_s ~ q, on average below the log-density."""
        size = max(1, CHUNK // self.importance)
        conds = cond.split(size) if cond is not None else [None] * -(-len(x) // size)
        rows = x.to(torch.promote_types(x.dtype, self.loc.dtype)).to(self.loc.dtype).split(size)
        bounds = [self._bound(part, c) for part, c in zip(rows, conds, strict=False) if len(part)]
        return torch.cat(bounds).to(x.dtype) if bounds else x.new_zeros(0)

    def _bound(self, x: Tensor, cond: Tensor | None) -> Tensor:
        centred = x - self.loc[self._rows(cond, len(x))]
        mean, log_variance = self.network.encode(centred, cond)
        nodes = quasi_normal(self.importance, self.latent, self.loc)
        z = mean[:, None] + (0.5 * log_variance).exp()[:, None] * nodes
        flat = z.flatten(0, 1)
        repeated = None if cond is None else cond.repeat_interleave(self.importance, 0)
        rest = centred.repeat_interleave(self.importance, 0) - self.network.decode(flat, repeated)
        latent = self.latents.log_prob(flat, self._latents_cond(repeated))
        joint = (_diagonal_log_density(rest, self._noise()) + latent).view(-1, self.importance)
        proposal = -0.5 * (nodes.square().sum(1) + log_variance.sum(1, keepdim=True) + self.latent * LOG_2PI)
        return (joint - proposal).logsumexp(1) - torch.tensor(float(self.importance)).log().item()

    @torch.no_grad()
    def _mean(self, cond: Tensor | None, n: int) -> Tensor:
        """Return E[x0 | c] over quasi-random z, from a table for labels, computed for each embedding."""
        if self.seen.condition.kind != "embeddings" or cond is None:
            return self.average[self._rows(cond, n)]
        means = [self.loc[0] + self._decoded_mean(row.to(self.loc)) for row in cond]
        return torch.stack(means) if means else self.loc[:0]

    def _latents_cond(self, cond: Tensor | None) -> Tensor | None:
        """Return the condition of the mixture over the latents: the label, else None."""
        return cond if self.seen.has_labels else None

    def _rows(self, cond: Tensor | None, n: int) -> Tensor:
        """Return the rows ``[n]`` of the table of centres: the labels, or the only row."""
        if cond is not None and self.seen.has_labels:
            return cond
        return torch.zeros(n, dtype=torch.long, device=self.loc.device)

    def _make_parts(self, state_dict: Mapping[str, Tensor], prefix: str) -> None:
        size, dims, loc = (state_dict.get(prefix + name) for name in ("seen.size", "event_dims", "loc"))
        if self.network is None and size is not None and dims is not None and loc is not None:
            self.seen.size = size.clone()
            place = self.event_dims.device
            self.network = self._build(torch.Size(dims.tolist()), seed=0).to(place, loc.dtype)


def _diagonal_log_density(rest: Tensor, noise: Tensor) -> Tensor:
    """Return log N(rest; 0, diag(noise)) ``[B]``."""
    return -0.5 * ((rest.square() / noise).sum(1) + noise.log().sum() + len(noise) * LOG_2PI)
