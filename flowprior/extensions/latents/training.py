"""The training of the convolutional VAE for flows in latents.

Loss of a batch: mean over events of (‖x − decode(z)‖² + kl · KL(q(z|x) ‖ N(0, I))) / numbers of an event,
with z drawn from q(z|x). So small a weight of the KL divergence keeps the latents in bounds and no more
(Rombach et al. 2022, arXiv 2112.10752, sec. 3.1). Each channel gets mean 0 and variance 1 afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from flowprior.data.base import Data
from flowprior.errors import InputError, TrainingDiverged
from flowprior.extensions.latents.network import ConvolutionalVae
from flowprior.extensions.latents.vae import VaeEncoder
from flowprior.models.base import PRECISIONS, in_precision
from flowprior.models.encoders import LatentEncoder, padded
from flowprior.progress.stages import stage
from flowprior.registry.options import check_counts, check_numbers, choose

REPORT_EVERY = 100
"""The number of steps between two lines of progress."""
PICTURES_TO_START_FROM = 1024
"""The number of images behind the principal components at the start."""
CLIP = 1.0
"""The largest norm of a gradient."""
MOST_ERROR = 4.0
"""The squared difference between a black pixel and a white one."""
STANDARDISED_AT_ONCE = 256
"""The number of images that are encoded at a time for mean and variance."""
COMPARED_AT_ONCE = 64
"""The number of images that are decoded at a time for the reconstruction error."""
SMALLEST_SCALE = 1e-4
"""The smallest standard deviation of latents, above the smallest number of half precision."""


@dataclass(frozen=True)
class VaeTraining:
    """The settings of the training of a VAE.

    Attributes:
        latent: channels of the latents.
        widths: channels of each resolution, from half the image's down; each halves the sides.
        blocks: residual blocks of each resolution.
        steps: optimiser steps (Adam, one cycle of the learning rate).
        batch_size: images a step.
        lr: highest learning rate.
        kl: weight of the KL divergence, in units of squared errors.
        seed: the seed of weights, order and noise.
        precision: of the network's passes, ``"float32"`` or ``"bfloat16"`` through autocast, which is faster
            where the processor has it; the weights stay float32.

    Raises:
        OptionError: an impossible value.
    """

    latent: int = 8
    widths: str | int | tuple[int, ...] = "48-96"
    blocks: int = 1
    steps: int = 3000
    batch_size: int = 32
    lr: float = 2e-3
    kl: float = 1e-4
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        owner = "train-encoder"
        choose(owner, "precision", self.precision, PRECISIONS)
        check_counts(owner, steps=self.steps, batch_size=self.batch_size)
        check_counts(owner, 0, seed=self.seed)
        check_numbers(owner, lr=(self.lr, 1e-12, 1e3), kl=(self.kl, 0.0, 1e6))


def train_vae(
    data: Data,
    training: VaeTraining | None = None,
    *,
    device: torch.device | str = "cpu",
) -> VaeEncoder:
    """Train on all images of ``data``; the same seed gives the same weights on the same machine.

    Args:
        data: images [C, H, W] in [-1, 1], of any size; the training split.
        training: options; None takes the defaults.
        device: the device of the training; the encoder is on the CPU afterwards.

    Raises:
        InputError: data that are no images, or are smaller than one latent stands for.
        OptionError: impossible options.
        TrainingDiverged: the squared error is not finite, or is larger than it can be in [-1, 1].
    """
    training = training or VaeTraining()
    if not data.is_image or len(data) == 0:
        raise InputError(
            f"train-encoder: expected images, '{data.name}' has events {list(data.event_shape)}; choose "
            "other data"
        )
    network = _seeded_network(data, training).to(device)
    errors: list[Tensor] = []
    with stage("train the encoder", training.steps, everywhere=True, kept=True) as under_way:
        for step, error in enumerate(_errors(network, data, training), 1):
            errors.append(error)
            under_way.advance()
            if step % REPORT_EVERY == 0 or step == training.steps:
                mean = torch.stack(errors).mean().item()
                if not mean <= MOST_ERROR:  # NaN, too
                    raise TrainingDiverged(
                        f"train-encoder: to step {step} the squared error of a number in [-1, 1] is "
                        f"{mean:.3g}; lower lr={training.lr:g}, for many widths to a third"
                    )
                under_way.update(step, f"squared error {mean:.4g}")
                errors.clear()
    return _standardised(network.cpu(), data)


def _errors(network: ConvolutionalVae, data: Data, training: VaeTraining) -> Iterator[Tensor]:
    """Make the training steps one by one and yield the mean squared error before each."""
    generator = torch.Generator().manual_seed(training.seed)
    device = network.unfold.weight.device
    optimiser = torch.optim.Adam(network.parameters(), training.lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, training.lr, total_steps=training.steps)
    for indices in _batches(len(data), training, generator):
        x = padded(data.batch(indices)[0].to(device), network.factor)
        with torch.enable_grad(), in_precision(training.precision, device):
            loss, error = _loss(network, x, training.kl, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        yield error


def _seeded_network(data: Data, training: VaeTraining) -> ConvolutionalVae:
    """Build the network before its first step, as principal components of the patches of some images."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(training.seed)
        network = ConvolutionalVae(data.event_shape[0], training.latent, training.widths, training.blocks)
    if network.factor > min(data.event_shape[1:]):
        raise InputError(
            f"train-encoder: widths={training.widths} need sides of {network.factor} pixels or more, "
            f"'{data.name}' has images of {list(data.event_shape[1:])}; "
            "give fewer widths"
        )
    generator = torch.Generator().manual_seed(training.seed)
    some = torch.randperm(len(data), generator=generator)[:PICTURES_TO_START_FROM]
    network.start_from(padded(data.batch(some)[0], network.factor))
    return network


def _batches(count: int, training: VaeTraining, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of every step: whole batches of one permutation of the data after the other."""
    size, step = min(training.batch_size, count), 0
    while step < training.steps:
        order = torch.randperm(count, generator=generator)
        for indices in order[: count // size * size].split(size)[: training.steps - step]:
            step += 1
            yield indices


def _loss(
    network: ConvolutionalVae, x: Tensor, kl: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the loss on x ``[B, C, H, W]``, and the mean squared error."""
    mean, log_variance = (part.float() for part in network.encode(x))
    noise = torch.randn(mean.shape, generator=generator).to(x)
    error = functional.mse_loss(network.decode(mean + noise * (log_variance / 2).exp()).float(), x)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / (2 * x.numel())
    return error + kl * divergence, error.detach()


@torch.no_grad()
def _standardised(network: ConvolutionalVae, data: Data) -> VaeEncoder:
    """Return the encoder with latents of mean 0 and variance 1 in each channel on ``data``.

    All numbers are rounded as its file holds them.
    """
    network.load_state_dict({name: _rounded(value) for name, value in network.state_dict().items()})
    count, sums, squares = 0, torch.zeros(()), torch.zeros(())
    for x, _ in data.batches(STANDARDISED_AT_ONCE):
        mean = network.encode(padded(x, network.factor))[0].double()
        count += mean[:, 0].numel()
        sums, squares = sums + mean.sum((0, 2, 3)), squares + mean.square().sum((0, 2, 3))
    shift = sums / count
    scale = (squares / count - shift.square()).clamp_min(0).sqrt().clamp_min(SMALLEST_SCALE)
    return VaeEncoder(network, _rounded(shift.float()), _rounded(scale.float()))


def _rounded(value: Tensor) -> Tensor:
    return value.half().float()


@dataclass(frozen=True)
class Reconstruction:
    """The error of decode(encode(x)), clamped to [-1, 1], against x.

    Attributes:
        psnr: peak signal-to-noise ratio 10 log10(4 / mse) in dB, of all images together.
        mse: mean squared error of a number in [-1, 1].
        pictures: the number of images that were compared.
    """

    psnr: float
    mse: float
    pictures: int


@torch.no_grad()
def measure_reconstruction(encoder: LatentEncoder, data: Data) -> Reconstruction:
    """Encode and decode all images of ``data`` and compare.

    Raises:
        InputError: events that the encoder does not take.
    """
    error, count = 0.0, 0
    device = encoder.device
    for x, _ in data.batches(COMPARED_AT_ONCE):
        x = x.to(device)
        back = encoder.decode(encoder.encode(x), data.event_shape).clamp(-1, 1)
        error += (back - x).double().square().sum().item()
        count += x.numel()
    mse = error / count
    psnr = 10 * math.log10(MOST_ERROR / mse) if mse > 0 else math.inf
    return Reconstruction(psnr, mse, len(data))
