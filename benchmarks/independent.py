"""The ratios of FID to random pairs from N(0, I) on Fashion-MNIST, by torch and torchcfm, without flowprior.

    python benchmarks/independent.py --prior prior

Trains the headline study's network twice, from N(0, I) and from flowprior's fitted prior, with the settings
that the study chose for 1,000 steps, and prints the FID of both. All is written out here but three files, of
which only tensors are read: the images of Debian's package dataset-fashion-mnist, the classifier whose
features the FID compares, and the prior, made by these lines:

    from flowprior import Prior; from flowprior.data import load_data, splits
    Prior.create("latent-gmm").fit(splits.split_validation(load_data("fashion-mnist"), 5000)[0]).save("prior")
"""

from __future__ import annotations

import argparse
import copy
import gzip
import itertools
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchcfm import ConditionalFlowMatcher

IMAGES = Path("/usr/share/datasets/fashion-mnist")
CLASSIFIER = Path(__file__).parent / "classifiers" / "fashion-mnist-train55000-3e318618.safetensors"
HELD_OUT, LABELS, BATCH, EVALUATIONS = 5000, 10, 64, (0, 1, 4)
SOURCE_NOISE = 0.04  # the variance that source samples have and data do not: latent-gmm's default
LEAST_VARIANCE = 0.05  # the lower bound on the data's variance outside of the subspace, in units of ψ


def read_images(split: str, held_out: int = 0) -> tuple[Tensor, Tensor]:
    """Return images in [-1, 1] and labels; of each class the same share is held out at random (seed 0)."""
    pixels = gzip.decompress((IMAGES / f"{split}-images-idx3-ubyte.gz").read_bytes())[16:]  # after the header
    numbers = gzip.decompress((IMAGES / f"{split}-labels-idx1-ubyte.gz").read_bytes())[8:]
    images = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(-1, 1, 28, 28) / 127.5 - 1
    labels = torch.frombuffer(bytearray(numbers), dtype=torch.uint8).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    classes = [order[labels[order] == label] for label in range(LABELS)]
    rows = torch.cat([own[round(held_out / len(labels) * len(own)) :] for own in classes])
    return images[rows], labels[rows]


class Source:
    """The baseline: source samples from N(0, I), and a network that predicts the velocity."""

    inputs = 1  # tensors of an image's shape that the network sees
    last_step = 1.0  # where it begins, or earlier to be as long as the others

    def training(self, x1: Tensor, labels: Tensor) -> Tensor:
        """Return a source sample for each data sample x1 ``[B, 1, 28, 28]``."""
        return torch.randn_like(x1)

    def sampling(self, labels: Tensor) -> Tensor:
        """Return a source sample for each label ``[B]``."""
        return torch.randn(len(labels), 1, 28, 28)

    def view(self, x: Tensor, t: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the network's inputs, offset and scale: the velocity is offset + scale * network."""
        return x, torch.zeros_like(x), torch.ones_like(x)


class PriorSource(Source):
    """The fitted prior: for each label a low-rank Gaussian, with a Gaussian mixture over its latents h.

    x0 = m + ψ^½ (Q λ^½ h + (I − Q Qᵀ) ε), with ε ~ N(0, I) and orthonormal Q; so h = λ^-½ Qᵀ ψ^-½ (x0 − m).
    In training h0 is inferred from the data sample's h1: h0 | h1 ~ N((1 − 1/λ) h1, (2 − 1/λ)/λ).
    Vectors are columns: m and ψ are ``[B, 784, 1]``, λ and h ``[B, r, 1]``, and Q is ``[B, 784, r]``.
    """

    inputs = 3
    last_step = 0.7

    def __init__(self, folder: Path) -> None:
        files = list(folder.glob("*.safetensors"))
        tensors = load_file(files[0]) if files else {}
        few = len(tensors.get("latents.factors", ())) < LABELS or bool((tensors["given"] > 0).any())
        if few or len(tensors["subspace.group"]):
            raise SystemExit(f"{folder}: expected a latent-gmm fitted to many examples of each label")
        m, psi, lam = (tensors[f"subspace.{name}"][..., None] for name in ("loc", "noise", "spread"))
        self.tables = m, psi, lam, tensors["subspace.basis"]
        self.share = tensors["subspace.basis"].square().sum(2, keepdim=True)  # of ψ, that in the subspace
        outside = (1 - SOURCE_NOISE / psi - self.share) / (1 - self.share).clamp(min=1e-6)
        self.outside = outside.clamp(LEAST_VARIANCE, 1)  # the data's variance outside of it, in units of ψ
        self.logits, self.centre = tensors["latents.logits"], tensors["latents.loc"][..., None]
        self.factor = self.centre.new_zeros(*self.logits.shape, *[lam.shape[1]] * 2)  # stored packed
        self.factor[(..., *torch.tril_indices(*self.factor.shape[-2:]))] = tensors["latents.factors"]

    def placed(self, h: Tensor, labels: Tensor) -> Tensor:
        """Return source samples with the latents h."""
        m, psi, lam, q = (table[labels] for table in self.tables)
        epsilon = torch.randn_like(m)
        return (m + psi.sqrt() * (epsilon + q @ (lam.sqrt() * h - q.mT @ epsilon))).view(-1, 1, 28, 28)

    def training(self, x1: Tensor, labels: Tensor) -> Tensor:
        m, psi, lam, q = (table[labels] for table in self.tables)
        h1 = q.mT @ ((x1.view_as(m) - m) / psi.sqrt()) / lam.sqrt()
        return self.placed((1 - 1 / lam) * h1 + ((2 - 1 / lam) / lam).sqrt() * torch.randn_like(h1), labels)

    def sampling(self, labels: Tensor) -> Tensor:
        component = torch.multinomial(self.logits.softmax(1)[labels], 1)[:, 0]
        centre, factor = self.centre[labels, component], self.factor[labels, component]
        return self.placed(centre + factor @ torch.randn_like(centre), labels)

    def view(self, x: Tensor, t: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return as offset E[x1 − x0 | x_t], and as scale its deviation, of Gaussian pairs (x0, x1).

        Along the axes both have the variance λ, and the covariance λ − 1; outside they are independent.
        """
        m, psi, lam, q = (table[labels] for table in self.tables)
        time, one = t.view(-1, 1, 1), torch.ones_like(psi)
        inside, outside = pair(time, lam, lam, lam - 1), pair(time, one, self.outside[labels], 0 * one)
        centred = x.view_as(m) - m
        along = q.mT @ (centred / psi.sqrt())
        offset = outside[1] * centred + psi.sqrt() * (q @ (inside[1] * along) - outside[1] * (q @ along))
        variance, left = (psi * (q**2 @ inside[k] + (1 - self.share[labels]) * outside[k]) for k in (0, 2))
        seen = torch.cat([x, (centred / variance.sqrt()).view_as(x), m.view_as(x)], dim=1)
        return seen, offset.view_as(x), left.sqrt().view_as(x)


def pair(t: Tensor, v0: Tensor, v1: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Var[x_t], the slope of E[x1 − x0 | x_t] in x_t, and Var[x1 − x0 | x_t], on (1 − t) x0 + t x1.

    v0 and v1 are the variances of the Gaussian x0 and x1, and k is their covariance.
    """
    variance = (1 - t) ** 2 * v0 + t**2 * v1 + 2 * t * (1 - t) * k
    return variance, (t * v1 - (1 - t) * v0 + (1 - 2 * t) * k) / variance, (v0 * v1 - k**2) / variance


class Block(nn.Module):
    """A residual block; the embedding of time and label scales and shifts its second normalisation."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(width // 16, width) for width in (channels_in, channels))
        self.conv1, self.conv2 = (nn.Conv2d(n, channels, 3, padding=1) for n in (channels_in, channels))
        self.embedding = nn.Linear(64, 2 * channels)
        self.skip = nn.Identity() if channels_in == channels else nn.Conv2d(channels_in, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.embedding(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(hidden))


class UNet(nn.Module):
    """A U-Net on squares of 2 × 2 pixels, with 32 channels at 14 × 14 and 64 at 7 × 7, where it attends."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(128, 64), nn.SiLU(), nn.Linear(64, 64))
        self.label, self.first = nn.Embedding(LABELS, 64), nn.Conv2d(4 * inputs, 32, 3, padding=1)
        self.high, self.down = Block(32, 32), nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.low1, self.low2, self.up = Block(64, 64), Block(64, 64), nn.Conv2d(64, 32, 3, padding=1)
        self.norm1, self.attention = nn.GroupNorm(4, 64), nn.MultiheadAttention(64, 2, batch_first=True)
        self.joined, self.norm2 = Block(64, 32), nn.GroupNorm(2, 32)
        self.last = nn.Conv2d(32, 4, 3, padding=1)
        added = [own.conv2 for own in self.children() if isinstance(own, Block)]
        for weight in nn.ModuleList([*added, self.attention.out_proj, self.last]).parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        angles = 1000 * t[:, None] * torch.logspace(0, -4, 64)
        embedding = F.silu(self.time(torch.cat([angles.sin(), angles.cos()], dim=1)) + self.label(labels))
        high = self.high(self.first(F.pixel_unshuffle(x, 2)), embedding)
        low = self.low1(self.down(high), embedding)
        rows = self.norm1(low).flatten(2).mT
        low = self.low2(low + self.attention(rows, rows, rows)[0].mT.view_as(low), embedding)
        joined = self.joined(torch.cat([self.up(F.interpolate(low, scale_factor=2)), high], 1), embedding)
        return F.pixel_shuffle(self.last(F.silu(self.norm2(joined))), 2)


def train(source: Source, images: Tensor, labels: Tensor, args: argparse.Namespace) -> UNet:
    """Return a network with averaged weights, trained by torchcfm's x_t and u_t."""
    torch.manual_seed(args.seed)
    matcher, network = ConditionalFlowMatcher(sigma=0.0), UNet(source.inputs)
    averaged, warmup = copy.deepcopy(network), max(1, min(200, args.steps // 2))
    optimiser = torch.optim.AdamW(network.parameters(), args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    for step in range(args.steps):
        cosine = (1 + np.cos(np.pi * max(0, step - warmup) / max(1, args.steps - 1 - warmup))) / 2
        optimiser.param_groups[0]["lr"] = args.lr * min(1, (step + 1) / warmup) * (0.01 + 0.99 * cosine)
        rows = torch.randint(len(images), (BATCH,))
        x1, cond = images[rows], labels[rows]
        t, x0 = torch.randn(BATCH).sigmoid(), source.training(x1, cond)
        x_t, u_t = matcher.sample_location_and_conditional_flow(x0, x1, t)[1:3]
        seen, offset, scale = source.view(x_t, t, cond)
        optimiser.zero_grad()
        F.mse_loss(offset + scale * network(seen, t, cond), u_t).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(0.999, (1 + step) / (10 + step)) if step else 0.0
        for mean, weight in zip(averaged.parameters(), network.parameters(), strict=True):
            mean.data.lerp_(weight.data, 1 - decay)
    return averaged


@torch.no_grad()
def sample(source: Source, network: nn.Module, labels: Tensor, evaluations: int) -> Tensor:
    """Return images ``[B, 1, 28, 28]`` by Euler's method."""
    x, last = source.sampling(labels), min(source.last_step, 1 - 1 / max(1, evaluations))
    for now, then in itertools.pairwise([*torch.linspace(0, last, evaluations).tolist(), 1.0]):
        t = torch.full((len(x),), now)
        seen, offset, scale = source.view(x, t, labels)
        x = x + (then - now) * (offset + scale * network(seen, t, labels))
    return x.clamp(-1, 1)


def features(x: Tensor) -> Tensor:
    """Return the classifier's features ``[B, 128]``, the inputs of its last layer."""
    weights = load_file(CLASSIFIER)
    x = (x - weights["shift"]) / weights["scale"]
    for layer in ("network.0.0.0", "network.0.2.0"):
        weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        x = F.max_pool2d(F.conv2d(x, weight, bias, padding=1).relu(), 2)
    return F.linear(x.flatten(1), weights["network.0.5.weight"], weights["network.0.5.bias"]).relu()


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Return ‖m1 − m2‖² + tr(C1 + C2 − 2 (C1 C2)^½) of the means and covariances of features ``[N, 128]``."""
    first, second = x.double().T.cov(), y.double().T.cov()
    roots = torch.linalg.eigvals(first @ second).real.clamp(min=0).sqrt()
    shift = (x.double().mean(0) - y.double().mean(0)).square().sum()
    return float(shift + first.trace() + second.trace() - 2 * roots.sum())


def main() -> None:
    """Train from both sources, and print the FID of their samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prior", type=Path, required=True, help="the folder of the fitted prior")
    for name, default in {"--seed": 0, "--steps": 1000, "--samples": 10_000, "--lr": 4e-3}.items():
        parser.add_argument(name, type=type(default), default=default)
    args = parser.parse_args()
    images, labels = read_images("train", HELD_OUT)
    real = torch.cat([features(x) for x in read_images("t10k")[0].split(500)])
    asked, fid = (torch.arange(args.samples) % LABELS).split(250), {n: [] for n in EVALUATIONS}
    for source in (Source(), PriorSource(args.prior)):
        network = train(source, images, labels, args)
        for n in EVALUATIONS:
            drawn = [sample(source, network, own, n) for own in asked]
            fid[n].append(frechet_distance(torch.cat([features(x) for x in drawn]), real))
    for n, (noise, prior) in fid.items():
        print(f"NFE {n}: FID {noise:.2f} from N(0, I), {prior:.2f} from the prior, ratio {prior / noise:.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
