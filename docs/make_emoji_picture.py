"""Draw docs/images/emoji.png: a few captions of the data set ``emoji``, each in all styles that draw it.

python docs/make_emoji_picture.py
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from flowprior.extensions.text.emoji import EMBEDDED, EmojiFile
from flowprior.pictures import save_figure

PICTURE = Path(__file__).parent / "images" / "emoji.png"
SHOWN = (
    "sleeping face",
    "black cat",
    "poodle",
    "ear of corn",
    "barber pole",
    "tractor",
    "saxophone",
    "flag: Japan",
)


def main() -> None:
    """One row a caption, one column a style."""
    file = EmojiFile.read(EMBEDDED)
    figure = Figure(figsize=(1.6 + 0.55 * len(file.styles), 0.55 * len(SHOWN) + 0.3), layout="constrained")
    axes = figure.subplots(len(SHOWN), len(file.styles), squeeze=False)
    for caption, row in zip(SHOWN, axes, strict=True):
        for style, place in enumerate(row):
            place.axis("off")
            of = (file.caption_of == file.captions.index(caption)) & (file.style_of == style)
            for picture in file.pictures[of]:
                place.imshow(picture, interpolation="nearest")
        row[0].text(-0.3, 0.5, caption, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    for name, place in zip(file.styles, axes[0], strict=True):
        place.set_title(name.replace("-", "\n", 1), fontsize=6)
    save_figure(figure, PICTURE)


if __name__ == "__main__":
    main()
