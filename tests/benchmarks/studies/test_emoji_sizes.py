"""The design's distance over CondOT's, against the side of the pictures."""

from __future__ import annotations

import pandas
import pytest

from benchmarks.studies import emoji, emoji_sizes

DESIGN = "kernel-mean+leave-one-out"
PACKAGE, LARGER = "emoji", "emoji:path=runs/data/emoji-64.npz"


def table() -> pandas.DataFrame:
    """Values 10 for CondOT; the design's depend on side, temperature and NFE. Held-out pictures like 0.2.

    They would like 0.1 more, but there samples are too near to training pictures.
    """
    rows = []
    for data, factor in ((PACKAGE, 0.5), (LARGER, 0.7)):
        for flow, scale in ((emoji_sizes.CONDOT, 1.0), (DESIGN, factor)):
            for temperature, more in ((1.0, 0.0), (0.2, 2.0), (0.1, 3.0)):
                keys = {
                    "data": data,
                    "flow": flow,
                    "sampler": f"euler:temperature={temperature}",
                    "step": None,
                }
                for quantile in emoji.FAR_ENOUGH:
                    ratio = 0.5 if temperature == 0.1 else 1.1
                    rows.append(
                        keys | {"metric": quantile, "split": emoji.VALIDATION, "nfe": 15, "value": ratio}
                    )
                for split, sign in ((emoji.SEEN, 1), (emoji.VALIDATION, -1)):
                    for nfe in (0, 4, 15):
                        value = scale * (10 + sign * more) + (nfe == 4)
                        rows.append(
                            keys | {"metric": emoji.DISTANCE, "split": split, "nfe": nfe, "value": value}
                        )
    return pandas.DataFrame(rows).astype({"nfe": "Int64", "step": "Int64"})


def test_the_side_is_the_packages_or_the_files():
    assert emoji_sizes.side_of(PACKAGE) == 32
    assert emoji_sizes.side_of(LARGER) == 64
    with pytest.raises(ValueError, match="whose name ends in its side"):
        emoji_sizes.side_of("emoji:path=drawings.npz")


def test_settings_are_read_off_at_the_temperature_that_held_out_pictures_prefer():
    found = emoji_sizes.at_own_temperature(table())
    assert set(found["temperature"]) == {0.2}
    assert found.loc[(32, emoji_sizes.CONDOT), 15] == 12
    ratios = emoji_sizes.ratios(found)
    assert list(ratios.index) == [(32, DESIGN), (64, DESIGN)]
    assert ratios[15].tolist() == pytest.approx([0.5, 0.7])
    assert ratios[4].tolist() == pytest.approx([7 / 13, 9.4 / 13])


def test_the_curve_is_drawn(tmp_path):
    emoji_sizes.draw_curve(emoji_sizes.at_own_temperature(table()), tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").stat().st_size > 5000
