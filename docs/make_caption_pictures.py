"""Draw the pictures of docs/caption-gallery.md with a flow that the page's first command trained.

python docs/make_caption_pictures.py runs/emoji
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from flowprior import Flow
from flowprior.data import load_data
from flowprior.metrics.memorisation import nearest
from flowprior.pictures import save_figure

IMAGES = Path(__file__).parent / "images"
SEEN = (
    "red heart",
    "grinning face",
    "tractor",
    "black cat",
    "sandwich",
    "hammer and pick",
    "flag: Japan",
    "star",
)
UNSEEN = ("crown", "a sleepy cat", "a green apple", "a house in the snow", "two dogs", "a blue car")
TEMPERATURE, NFE = 0.3, 15
SEED = 0


def main(run: str) -> None:
    """Temperatures, evaluations, guidance, unseen captions, and the training pictures nearest to samples."""
    flow, data = Flow.load(run), load_data("emoji")
    training = data.batch(torch.arange(len(data)))[0]

    def drawn(captions: Sequence[str], **options: Any) -> Tensor:
        chosen = {"temperature": TEMPERATURE, "nfe": NFE} | options
        return flow.sample(list(captions), generator=torch.Generator().manual_seed(SEED), **chosen)

    for name, captions, rows in (
        (
            "temperatures",
            SEEN,
            {f"temperature {t:g}": {"temperature": t} for t in (1, 0.7, 0.5, 0.3, 0.15, 0)},
        ),
        ("evaluations", SEEN, {f"NFE {nfe}": {"nfe": nfe} for nfe in (0, 1, 2, 4, 15, 30)}),
        ("guidance", SEEN, {f"guidance {g:g}": {"guidance": g} for g in (0, 1, 2, 4)}),
        ("unseen", UNSEEN, {f"temperature {t:g}": {"temperature": t} for t in (1, 0.5, 0.3)}),
    ):
        draw(name, captions, {row: drawn(captions, **options) for row, options in rows.items()})
    beside = {}
    for t in (0.3, 1):
        x = drawn(SEEN, temperature=t)
        beside |= {f"temperature {t:g}": x, f"nearest to it, {t:g}": training[nearest(x, [training]).place]}
    draw("nearest", SEEN, beside)


def draw(name: str, captions: Sequence[str], rows: Mapping[str, Tensor]) -> None:
    """Write ``captions-NAME.png``: a column a caption, a row a setting, whose pictures are [N, 3, H, W]."""
    size = (0.9 * len(captions) + 1.1, 0.9 * len(rows) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), len(captions), squeeze=False)
    for (setting, pictures), line in zip(rows.items(), axes, strict=True):
        for picture, place in zip(pictures, line, strict=True):
            place.axis("off")
            place.imshow((picture.clamp(-1, 1) / 2 + 0.5).permute(1, 2, 0), interpolation="nearest")
        line[0].text(-0.15, 0.5, setting, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    for caption, place in zip(captions, axes[0], strict=True):
        place.set_title(caption.replace(" ", "\n", 1), fontsize=7)
    save_figure(figure, IMAGES / f"captions-{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
