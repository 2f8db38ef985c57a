"""The command ``flowprior train-encoder``, which trains the small VAE for flows in latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowprior.cli.catalogue import completing
from flowprior.cli.commands import print_json, print_rich
from flowprior.cli.options import Device, Json, Seed


def train_encoder(
    out: Annotated[Path, typer.Option(metavar="FILE", help="File of the weights, such as vae.safetensors.")],
    data: Annotated[
        str,
        typer.Option(help="Pictures: a name, name:key=value,… or a path.", autocompletion=completing("data")),
    ] = "emoji",
    latent: Annotated[int, typer.Option(help="Channels of the latents.")] = 8,
    widths: Annotated[
        str,
        typer.Option(
            help="Channels of each resolution, from half the image's side down; each halves the sides."
        ),
    ] = "48-96",
    blocks: Annotated[int, typer.Option(help="Residual blocks of each resolution.")] = 1,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 3000,
    batch_size: Annotated[int, typer.Option(help="Pictures a step.")] = 32,
    lr: Annotated[float, typer.Option(help="Highest learning rate of Adam.")] = 2e-3,
    kl: Annotated[
        float, typer.Option(help="Weight of the KL divergence, in units of squared errors.")
    ] = 1e-4,
    precision: Annotated[
        str, typer.Option(help="Of the network's passes: float32, or bfloat16, which may be faster.")
    ] = "float32",
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train an autoencoder of images, write its weights, and measure it on the test split."""
    from flowprior.data import load_data
    from flowprior.extensions.latents.training import VaeTraining, measure_reconstruction, train_vae
    from flowprior.extensions.latents.vae import VaeEncoder
    from flowprior.progress.stages import stage
    from flowprior.training.components import resolve_device

    VaeEncoder.check_file(out)
    training = VaeTraining(latent, widths, blocks, steps, batch_size, lr, kl, seed, precision)
    train, test = load_data(data, "train"), load_data(data, "test")
    where = resolve_device(device)
    encoder = train_vae(train, training, device=where).to(where)
    with stage("measure the reconstruction error"):
        found = measure_reconstruction(encoder, test)
    shape = list(encoder.latent_shape(train.event_shape))
    kept = {"data": train.name, "steps": steps, "psnr": f"{found.psnr:.3f}", "pictures": found.pictures}
    encoder.save(out, {name: str(value) for name, value in kept.items()})
    if json:
        print_json(
            {
                "out": str(out),
                "latent_shape": shape,
                "psnr": found.psnr,
                "mse": found.mse,
                "pictures": found.pictures,
            }
        )
        return
    parts = " --prior kernel-mean --coupling leave-one-out" if train.condition.kind == "embeddings" else ""
    print_rich(
        f"latents {shape}, {found.psnr:.2f} dB on {found.pictures} images of the test split: {out}",
        f"next: flowprior train --data {data} --latent vae:weights={out}{parts}",
    )
