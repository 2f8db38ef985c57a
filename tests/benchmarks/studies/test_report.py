"""The page of results: sections appear with their cells; the choice looks at the validation split only."""

from __future__ import annotations

from typing import Any

from benchmarks.studies.report.__main__ import page
from benchmarks.studies.report.class_conditional import (
    NFES,
    _ordering,
    _steps_needed,
    chosen_setting,
    ratio_to_rivals,
)
from benchmarks.studies.report.formatting import grouped, spread, table


def cell(setting: str, seed: int, validation: float, test: float) -> dict[str, Any]:
    def rows(value: float) -> list[dict[str, float]]:
        return [{"nfe": nfe, "fid-cnn128": value, "fid-lite0": 10 * value} for nfe in NFES]

    return {"setting": setting, "seed": seed, "rows": rows(test), "validation": rows(validation)}


def test_the_choice_ignores_the_test_split() -> None:
    found = [
        cell(name, seed, validation, test)
        for seed in (0, 1)
        for name, validation, test in (
            ("gaussian+condot", 10.0, 10.0),
            ("torchcfm-ot", 8.0, 20.0),
            ("ddpm", 0.1, 0.1),
            ("ours-a", 4.0, 9.0),
            ("ours-b", 6.0, 1.0),
        )
    ]
    by_setting = grouped(found, "setting")
    assert chosen_setting(by_setting) == "ours-a"
    lucky = {**by_setting, "ours-c": [cell("ours-c", 0, 1.0, 1.0)]}
    assert chosen_setting(lucky) == "ours-a", "one run has no say beside two"
    assert ratio_to_rivals(by_setting, "ours-a", 4, "fid-cnn128", "validation") == 0.5
    assert ratio_to_rivals(by_setting, "ours-a", 4, "fid-cnn128", "rows") == 0.9
    baselines = {name: by_setting[name] for name in ("gaussian+condot", "ddpm")}
    assert chosen_setting(baselines) is None


def curve(setting: str, values: dict[int, float], at_15: float) -> dict[str, Any]:
    made = cell(setting, 0, 1.0, at_15)
    made["curve"] = [
        {"step": step, "nfe": nfe, "fid-cnn128": value, "fid-lite0": value}
        for step, value in values.items()
        for nfe in (4, 15)
    ]
    return made


def test_steps_that_a_design_needs_and_the_papers_order() -> None:
    base = curve("gaussian+condot", {100: 9.0, 200: 7.0, 300: 5.0}, 5.0)
    fast = curve("gmm+condot", {100: 6.0, 200: 5.0, 300: 4.0}, 4.0)
    slow = curve("latent", {100: 9.0, 200: 8.0, 300: 6.0}, 6.0)
    by_setting = grouped([base, fast, slow], "setting")
    assert "| `gmm+condot` | fid-cnn128 | 200 | 200 |" in _steps_needed(by_setting)
    assert "| `latent` | fid-lite0 | never | never |" in _steps_needed(by_setting)
    assert _ordering(by_setting) == ""
    others = [curve("torchcfm-ot", {}, 5.0), curve("ddpm", {}, 20.0)]
    assert "DDPM was not trained" in _ordering(grouped([base, fast, others[0]], "setting"))
    text = _ordering(grouped([base, fast, *others], "setting"))
    assert "DDPM was not trained" not in text
    assert text.count("the paper's order **holds**") == 2
    worse = [curve("gmm+condot", {}, 5.5)]
    assert text != _ordering(grouped([base, *worse, *others], "setting"))
    assert "does not hold" in _ordering(grouped([base, *worse, *others], "setting"))


def test_figures_have_their_spread() -> None:
    assert spread([1.0, 3.0]) == "2.0 ± 1.4"
    assert spread([2.0], 3) == "2.000"
    assert table(["a"], [["b"]]).splitlines() == ["| a |", "| --- |", "| b |"]


def test_the_page_has_the_sections_that_ran() -> None:
    text = page()
    for title in ("# Results", "## Eight modes", "## Fashion-MNIST", "## 8gaussians", "## Timings"):
        assert title in text
