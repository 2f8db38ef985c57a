"""The radially averaged spectrum: of noise, of one wave, and its sum."""

from __future__ import annotations

import math

import pytest
import torch

from flowprior.errors import InputError
from flowprior.metrics.spectra import power_spectrum

SHAPES = pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40), (15, 8), (1, 9)])


def modes(height: int, width: int) -> torch.Tensor:
    """The number of modes of each bin, one by one."""
    longer, found = max(height, width), []
    for row in range(height):
        for column in range(width):
            y, x = min(row, height - row) / height, min(column, width - column) / width
            found.append(math.floor(longer * math.hypot(x, y) + 0.5))
    return torch.tensor(found).bincount()


@SHAPES
def test_the_spectrum_of_white_noise_is_flat_and_sums_to_the_squares(generator, height, width):
    x = 3 * torch.randn(1000, 2, height, width, generator=generator)
    frequency, power = power_spectrum(x)
    count = modes(height, width)
    assert frequency.tolist() == pytest.approx([k / max(height, width) for k in range(len(count))])
    assert power.mean((0, 1)).tolist() == pytest.approx([9.0] * len(count), rel=0.1)
    assert power.dtype == torch.float64
    torch.testing.assert_close((count * power).sum(2), x.double().square().sum((2, 3)))


@SHAPES
def test_a_wave_has_its_power_in_one_bin(height, width):
    """(a H W/2)² of each of two modes, over H W and the number of modes."""
    wave = 2 * torch.cos(2 * math.pi * 3 / max(height, width) * torch.arange(max(height, width)).double())
    x = wave.expand(1, 1, height, -1) if width >= height else wave[:, None].expand(1, 1, -1, width)
    _, power = power_spectrum(x)
    expected = torch.zeros(power.shape[2]).double()
    expected[3] = 2 * height * width / modes(height, width)[3]
    torch.testing.assert_close(power[0, 0], expected)


def test_what_is_no_field_is_refused():
    for x in (torch.zeros(3, 4, 4), torch.zeros(0, 1, 4, 4), torch.full((1, 1, 4, 4), math.nan)):
        with pytest.raises(InputError, match=r"power_spectrum: expected finite fields \[N, C, H, W\]"):
            power_spectrum(x)
