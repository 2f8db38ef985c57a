"""Words to normal numbers: exact where the angle is, right to the last digits elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from flowprior.ops.random import normal_pair

# Corners of the quarters, and their neighbours.
ANGLES = sorted({(corner + step) % 2**32 for corner in range(0, 2**32, 2**29) for step in (-1, 0, 1)})
RADII = [0, 1, 1000, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]


def exact_pair(radius_word: int, angle_word: int) -> tuple[float, float]:
    """By the definition, with the angle reduced to an eighth of a turn in exact fractions."""
    u = Fraction(2 * radius_word + 1, 2**33)
    # log u = log1p(−(1 − u)) keeps its digits near u = 1.
    log_u = math.log1p(-float(1 - u)) if u > Fraction(1, 2) else math.log(float(u))
    radius = math.sqrt(-2 * log_u)
    eighths, rest = divmod(Fraction(angle_word, 2**32) * 8, 1)
    angle, flipped = (float(rest), False) if eighths % 2 == 0 else (float(1 - rest), True)
    near, far = math.sin(angle * math.pi / 4), math.cos(angle * math.pi / 4)
    cosine, sine = (far, near) if (int(eighths) // 2 % 2 == 0) != flipped else (near, far)
    quarter = int(eighths) // 2
    return (
        -radius * cosine if quarter in (1, 2) else radius * cosine,
        -radius * sine if quarter in (2, 3) else radius * sine,
    )


@pytest.mark.parametrize("radius_word", RADII)
def test_pairs_at_the_corners_are_those_of_the_definition(radius_word):
    angles = torch.tensor(ANGLES)
    n0, n1 = normal_pair(torch.full_like(angles, radius_word), angles)
    for i, angle in enumerate(ANGLES):
        expected = exact_pair(radius_word, angle)
        assert n0[i].item() == pytest.approx(expected[0], rel=1e-14, abs=0)
        assert n1[i].item() == pytest.approx(expected[1], rel=1e-14, abs=0)


def test_the_definition_itself_is_cosine_and_sine():
    """The oracle above, in the plain formula where that has its digits."""
    for angle in (123_456_789, 2**30 + 77, 3_000_000_000, 4_123_456_789):
        turn = 2 * math.pi * angle / 2**32
        radius = math.sqrt(-2 * math.log((1000 + 0.5) / 2**32))
        expected = (radius * math.cos(turn), radius * math.sin(turn))
        assert exact_pair(1000, angle) == pytest.approx(expected, rel=1e-9)
