"""The pixels of a figure, and the words on it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from flowprior.pictures.saving import figure_bytes


class Shown:
    """A figure as it is drawn."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        with Image.open(io.BytesIO(figure_bytes(figure))) as image:
            self.pixels = np.asarray(image.convert("RGB")).astype(int)

    @property
    def canvas(self) -> np.ndarray:
        """Pixels of the axes alone."""
        box = self.figure.axes[0].get_window_extent()
        height = len(self.pixels)
        rows = slice(height - round(box.y1), height - round(box.y0))
        return self.pixels[rows, round(box.x0) : round(box.x1)]

    @property
    def words(self) -> list[str]:
        """Every text that is not empty, in the order in which it was written."""
        texts: Any = self.figure.findobj(Text)
        return [text.get_text() for text in texts if text.get_text()]


@pytest.fixture(scope="session")
def show() -> type[Shown]:
    return Shown
