"""Conditional flow matching from a designed prior, on one page of plain torch.

A flow usually starts at N(0, I), which knows nothing of the condition c. "Designing
a Conditional Prior Distribution for Flow-Based Generative Models" (Issachar et al.,
arXiv 2502.09611) starts it at p0(x0 | c), fitted to the data of c. This is the
default design of flowprior, train((x1, c)), and a test holds both to the same
numbers. It trains on digits, which takes a minute on one core.

Notation. x1 [D] is a data sample with label c, x0 [D] a source sample, t a time in
[0, 1], x_t = (1 - t) x0 + t x1, and u = x1 - x0 its velocity. The v(x_t, t, c) that
minimises E |v - u|^2 is E[u | x_t, c]; dx/dt = v(x, t, c) carries x0 to a sample
(Lipman et al., arXiv 2210.02747, eq. 14 and 23). B rows, C labels, K components.

1. A low-rank Gaussian for each label. Its data have a mean m [D] and noise of
   variance psi [D]; in units of psi they vary along orthonormal axes Q [D, r] with
   variances lambda [r] >= 1. The latents h [r] of x are its coordinates there:

       h = lambda^(-1/2) Q' psi^(-1/2) (x - m)                                  (1)
       x = m + psi^(1/2) (Q lambda^(1/2) h + (I - Q Q') e),   e ~ N(0, I)       (2)

2. The coupling. A source sample has latents h0 that are inferred from those of its
   data sample, h1. If h1 has mean 0 and covariance I, so has h0:

       h0 | h1 ~ N((1 - 1/lambda) h1, (2 - 1/lambda)/lambda)                    (3)

3. The prior. Sampling has to start where training does, and h0 is not Gaussian. So
   a mixture of Gaussians is fitted to each label's h1, and (3) makes it one of h0.

4. The linear velocity. Where x0 and x1 have variances v0 and v1 and covariance k
   along a direction, the best linear prediction of u there is g (x_t - m):

       g = (t v1 - (1 - t) v0 + (1 - 2t) k)/s^2,  Var[u | x_t] = (v0 v1 - k^2)/s^2
       s^2 = Var[x_t] = t^2 v1 + (1 - t)^2 v0 + 2t (1 - t) k                    (4)

   In units of psi, v0 = v1 = lambda and k = lambda - 1 along the axes, by (3), and
   beside them v0 = 1, k = 0, and v1 is what is left of psi without the FLOOR in it.

5. The network F learns what (4) leaves, in units of its size (Karras et al., arXiv
   2206.00364, eq. 7): v = g (x_t - m) + Var[u | x_t]^(1/2) F(x_t, (x_t - m)/s, m).

The library chooses `rows_each` by the density of held-out latents, and draws labels
of fewer than 8 r examples toward all others, which is left out here.
"""

# pyright: reportPossiblyUnboundVariable=false
from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

FLOOR = 0.04  # the least noise variance
Triple = tuple[Tensor, Tensor, Tensor]
Pairs = tuple[Tensor, Tensor, Tensor, Tensor]  # x0 and x1 [B, D], t and c [B]


class Gaussian(NamedTuple):
    """m, psi [C, D], Q [C, D, r] and lambda [C, r] of C labels, or of B rows."""

    mean: Tensor
    noise: Tensor
    axes: Tensor
    spread: Tensor

    def of(self, labels: Tensor | int) -> Gaussian:
        return Gaussian(*(table[labels] for table in self))

    def latents(self, x: Tensor) -> Tensor:
        """h [B, r] of x [B, D], eq. (1)."""
        white = (x - self.mean) / self.noise.sqrt()
        return times(white, self.axes) / self.spread.sqrt()

    def place(self, h: Tensor, e: Tensor) -> Tensor:
        """x [B, D] of h [B, r] and e [B, D], eq. (2)."""
        along = self.spread.sqrt() * h - times(e, self.axes)
        return self.mean + self.noise.sqrt() * (e + times(along, self.axes.mT))

    def inferred(self) -> tuple[Tensor, Tensor]:
        """Slope and variance of h0 given h1, eq. (3)."""
        return 1 - 1 / self.spread, (2 - 1 / self.spread) / self.spread


class Prior(NamedTuple):
    """The Gaussians; weights [C, K], means and factors [C, K, r, r] of h0."""

    gaussian: Gaussian
    weight: Tensor
    mean: Tensor
    factor: Tensor

    def draw(self, c: Tensor, k: Tensor, z: Tensor, e: Tensor) -> Tensor:
        """x0 [B, D] by components k [B] and normal noise z [B, r] and e [B, D]."""
        h0 = self.mean[c, k] + times(z, self.factor[c, k].mT)
        return self.gaussian.of(c).place(h0, e)

    def infer(self, x1: Tensor, c: Tensor, z: Tensor, e: Tensor) -> Tensor:
        """x0 [B, D] of data x1 [B, D] by normal noise z [B, r] and e [B, D]."""
        rows = self.gaussian.of(c)
        slope, variance = rows.inferred()
        return rows.place(slope * rows.latents(x1) + variance.sqrt() * z, e)


def times(rows: Tensor, matrices: Tensor) -> Tensor:
    """Each row [B, n] times its own matrix [B, n, m], or the only one [n, m]."""
    return (rows[:, None] @ matrices)[:, 0]


def fit_gaussian(data: list[Tensor], start: Tensor, rank: int) -> Gaussian:
    """Fit each label's Gaussian to its data [n, D] (Tipping & Bishop 1999, eq. 7).

    For given psi, Q and lambda are leading eigenvectors and eigenvalues of the
    covariance in units of psi, found by iteration from a subspace [D, r + 16].
    """
    covariance = torch.stack([x.T.cov(correction=0) for x in data])
    variance = rest = covariance.diagonal(dim1=1, dim2=2)
    image = start.expand(len(data), -1, -1)
    for step in range(10):
        noise = torch.maximum(rest, 0.1 * rest.mean(1, keepdim=True)) + FLOOR
        root = noise.sqrt()[:, :, None]
        block = torch.linalg.qr(image / root if step else image).Q
        image = covariance @ (block / root)
        values, turn = torch.linalg.eigh(block.mT @ (image / root))
        axes, spread = (block @ turn)[..., -rank:], values[:, -rank:].clamp_min(1)
        along = axes.square() @ (spread - 1)[:, :, None]
        rest = (variance - noise * along[..., 0]).clamp_min(0)
    return Gaussian(torch.stack([x.mean(0) for x in data]), noise, axes, spread)


def fit_mixture(h: Tensor, starts: list[Tensor]) -> Triple:
    """Average mixtures of h [n, r] from starts [K, r] (Ormoneit & Tresp 1998)."""
    members = []
    for centres in starts:
        for _ in range(9):  # k-means
            owner = torch.cdist(h, centres).argmin(1).unique(return_inverse=True)[1]
            centres = torch.stack([h[owner == k].mean(0) for k in owner.unique()])
        member = maximise(h, nn.functional.one_hot(owner).to(h))
        for _ in range(4):  # EM, stopped early
            member = maximise(h, log_density(h, *member).softmax(1))
        members.append(member)
    weight, mean, factor = map(torch.cat, zip(*members, strict=True))
    return weight / len(members), mean, factor


def maximise(h: Tensor, share: Tensor) -> Triple:
    """The M-step, from the shares [n, K] that rows have in components.

    One row's worth of the mean of h, 0, is added to each; r rows' worth of its
    covariance, I, to that within components; and 8 rows' worth of that to each.
    """
    count, eye = share.sum(0), torch.eye(h.shape[1]).to(h)
    mean = share.T @ h / (count + 1)[:, None]
    root = torch.where(share > 1e-4, share, 0).T.sqrt()
    deviation = root[:, :, None] * (h - mean[:, None])
    scatter = deviation.mT @ deviation
    within = (scatter.sum(0) + len(eye) * eye) / (len(h) + len(eye))
    covariance = (scatter + 8 * within) / (count + 8)[:, None, None]
    return count / len(h), mean, torch.linalg.cholesky(covariance + 1e-3 * eye)


def log_density(h: Tensor, weight: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """The log of weight times density [n, K], but for a constant."""
    white = torch.linalg.inv(factor) @ (h - mean[:, None]).mT
    volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return weight.log() - volume - white.square().sum(1).T / 2


def fit_prior(x: Tensor, c: Tensor, rows_each: int = 70) -> Prior:
    """Fit the prior to x [N, D], with `rows_each` rows a component of a mixture.

    It has r latents, the power of two not above the root of a label's rows.
    """
    data = [x[c == label] for label in c.unique()]
    rank = min(2 ** int(math.log2(len(x) / len(data)) / 2), 64)
    gaussian = fit_gaussian(data, torch.randn(x.shape[1], rank + 16).to(x), rank)
    latents = [gaussian.of(label).latents(own) for label, own in enumerate(data)]
    mixtures = []
    for h in latents:
        size = max(round(len(h) / rows_each), 1)
        starts = [h[torch.randperm(len(h))[:size]] for _ in range(2)]
        mixtures.append(fit_mixture(h, starts))
    parts = zip(*mixtures, strict=True)
    weight, *tables = (pad_sequence(list(part), True) for part in parts)
    slope, variance = (each[:, None] for each in gaussian.inferred())
    mean, factor = slope * tables[0], slope[..., None] * tables[1]  # those of h0
    factor = torch.linalg.cholesky(factor @ factor.mT + variance.diag_embed())
    return Prior(gaussian, weight, mean, factor)


def moments(t: Tensor, v0: Tensor, v1: Tensor, k: Tensor) -> Triple:
    """g, Var[x_t] and Var[u | x_t], eq. (4)."""
    s2 = t**2 * v1 + (1 - t) ** 2 * v0 + 2 * t * (1 - t) * k
    return (t * v1 - (1 - t) * v0 + (1 - 2 * t) * k) / s2, s2, (v0 * v1 - k**2) / s2


class Flow(NamedTuple):
    """The network F, and the prior that the flow starts from."""

    network: nn.Module
    prior: Prior

    def velocity(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """v [B, D] at x [B, D], times t [B] and labels c [B]."""
        mean, noise, axes, spread = self.prior.gaussian.of(c)
        squares, one, t_ = axes.square(), torch.ones_like(x), t[:, None]
        room = 1 - squares.sum(2)  # the share of a coordinate beside the axes
        data = ((room - FLOOR / noise) / room.clamp_min(1e-6)).clamp(0.05, 1)
        g, s2, left = moments(t_, spread, spread, spread - 1)
        g_beside, s2_beside, left_beside = moments(t_, one, data, 0 * one)
        s2 = times(s2, squares.mT) + room * s2_beside
        left = times(left, squares.mT) + room * left_beside
        white, back = (x - mean) / noise.sqrt(), axes.mT
        along = times(white, axes)
        linear = g_beside * (white - times(along, back)) + times(g * along, back)
        label = nn.functional.one_hot(c, len(self.prior.weight)).to(x)
        shown = torch.cat([x, white / s2.sqrt(), mean, t_, label], 1)
        return noise.sqrt() * (linear + left.sqrt() * self.network(shown))

    def loss(self, x0: Tensor, x1: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The mean of (v - u)^2 over pairs and coordinates."""
        x_t = (1 - t)[:, None] * x0 + t[:, None] * x1
        return (self.velocity(x_t, t, c) - (x1 - x0)).square().mean()

    @torch.no_grad()
    def sample(self, x0: Tensor, c: Tensor, nfe: int) -> Tensor:
        """x1 from x0 [B, D] by Euler steps, the last from t = 0.7 or before."""
        last = min(0.7, 1 - 1 / nfe)
        grid = [last * step / max(nfe - 1, 1) for step in range(nfe)]
        for t, end in pairwise([*grid, 1.0]):
            x0 = x0 + (end - t) * self.velocity(x0, torch.full_like(x0[:, 0], t), c)
        return x0


def batches(prior: Prior, x: Tensor, labels: Tensor) -> Iterator[Pairs]:
    """Draw 128 pairs at a time, and times that favour the middle of [0, 1]."""
    while True:
        for rows in torch.randperm(len(x)).split(128):
            x1, c, t = x[rows], labels[rows], torch.randn(len(rows)).sigmoid()
            z, e = torch.randn(len(rows), prior.mean.shape[2]), torch.randn_like(x1)
            yield prior.infer(x1, c, z, e), x1, t, c


def train(flow: Flow, pairs: Iterable[Pairs], steps: int) -> Flow:
    """Minimise the loss by AdamW; return the flow with averaged weights."""
    average, warmup = copy.deepcopy(flow), max(min(200, steps // 2), 1)
    old, new = (list(each.network.parameters()) for each in (average, flow))
    optimiser = torch.optim.AdamW(new, betas=(0.9, 0.99))
    for step, batch in zip(range(steps), pairs, strict=False):
        angle = math.pi * max(0, step - warmup) / max(1, steps - 1 - warmup)
        rate = min(1, (step + 1) / warmup) * (0.505 + 0.495 * math.cos(angle))
        optimiser.param_groups[0]["lr"] = 1e-3 * rate
        optimiser.zero_grad()
        flow.loss(*batch).backward()
        nn.utils.clip_grad_norm_(new, 1.0)
        optimiser.step()
        decay = min(0.999, (1 + step) / (10 + step)) if step else 0.0
        for mean, weight in zip(old, new, strict=True):
            mean.data.lerp_(weight.data, 1 - decay)
    return average


def digits(part: slice) -> tuple[Tensor, Tensor]:
    """scikit-learn's digits, each at nine places in 10 x 10 pixels, and labels."""
    images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    images = images[part].float().view(-1, 1, 8, 8) / 8 - 1
    places = nn.functional.unfold(nn.ConstantPad2d(2, -1)(images), 10)
    return places.mT.reshape(-1, 100), labels[part].repeat_interleave(9)


def main() -> None:
    """Train on digits, and compare samples with digits that were kept back."""
    torch.manual_seed(0)
    (x, labels), (new, c) = digits(slice(1400)), digits(slice(1400, None))
    prior = fit_prior(x, labels)
    layers = nn.Linear(311, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU()
    flow = Flow(nn.Sequential(*layers, nn.Linear(512, 100)), prior)
    flow = train(flow, batches(prior, x, labels), steps=2000)
    k = torch.multinomial(prior.weight[c], 1)[:, 0]
    z = torch.randn(len(c), prior.mean.shape[2])
    x0 = prior.draw(c, k, z, torch.randn_like(new))
    compared = {"training digits": (x, labels), "the prior alone": (x0, c)}
    for nfe in (1, 2, 4, 8, 15):
        compared[f"{nfe} evaluations"] = flow.sample(x0, c, nfe), c
    print("nearest digit kept back:   has the same label   distance")
    for name, (drawn, wanted) in compared.items():
        distance, nearest = torch.cdist(drawn, new).min(1)
        right = (c[nearest] == wanted).float().mean()
        print(f"{name:24}   {right:18.1%}   {distance.mean():8.2f}")
    for row in drawn[::360].view(-1, 10, 10).clamp(-1, 1).transpose(0, 1):
        print("".join(" .:-=+*#%@"[int(4.5 * v + 4.5)] for v in row.flatten()))


if __name__ == "__main__":
    main()
