"""The study of the lead: which grid a setting stands at, the ratios, what is lost in the law of the prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

from benchmarks.studies import STUDIES, lead
from flowprior.couplings import Coupling
from flowprior.flow.prediction_kinds import suited_sampler
from flowprior.study.grid import load_grid

UNIFORM = "euler"


def row(
    flow: str,
    value: float,
    nfe: int,
    sampler: str | None = UNIFORM,
    split: str | None = "test",
    seed: int = 0,
):
    keys = {"flow": flow, "value": value, "nfe": nfe, "sampler": sampler, "split": split, "seed": seed}
    return keys | {"metric": "fid-lite0", "step": None}


def table(rows) -> pandas.DataFrame:
    found = pandas.DataFrame(rows)
    return found.astype({"nfe": "Int64", "step": "Int64"})


def stored() -> pandas.DataFrame:
    """A rival whose validation split prefers another grid than its test split at 4, and ours."""
    rows = []
    for nfe, (at_uniform, at_last) in {1: (100, 100), 4: (50, 40), 30: (30, 35)}.items():
        rows += [row("gaussian+condot", at_uniform, nfe), row("gaussian+condot", at_last, nfe, lead.GRID)]
        rows += [row("flow_matching", 2 * at_uniform, nfe), row("flow_matching", 2 * at_last, nfe, lead.GRID)]
        rows += [row("default", at_uniform / 5, nfe), row("default", at_last / 4, nfe, lead.GRID)]
    seen = [entry | {"split": "validation"} for entry in rows]
    for entry in seen:
        if entry["flow"] == "gaussian+condot" and entry["nfe"] == 4:
            entry["value"] = 60 - entry["value"]
    return table(rows + seen + [row("default", 500, 0, None)])


def test_rivals_stand_at_the_grid_that_the_validation_split_prefers_and_ours_at_its_own():
    found = lead.settings(stored(), "fid-lite0")
    assert found.loc["gaussian+condot"].tolist() == [100, 50, 30]
    assert found.loc["flow_matching"].tolist() == [200, 80, 60]
    assert found.loc["default"].tolist() == [25, 10, 8.75]


def test_the_ratio_is_to_the_best_rival_at_each_number_of_evaluations():
    assert lead.over_best_rival(stored(), "fid-lite0").to_dict() == {
        1: 0.25,
        4: 0.2,
        30: pytest.approx(0.2917, abs=1e-4),
    }
    alone = stored()
    assert lead.over_best_rival(alone[alone["flow"] == "default"], "fid-lite0").empty
    assert lead.last_over_best(stored(), "fid-lite0") == 0.875


def cells(both: Any) -> Any:
    """The same rows as those of stored cells of an earlier study, which call no data."""
    return both.assign(label=both["flow"], reference="9 examples", steps=1000)


def test_rivals_of_an_earlier_study_stand_in_where_none_has_run():
    both = cells(stored())
    both = both[both["nfe"] > 0]
    ours, theirs = (both[(both["flow"] == "default") == own] for own in (True, False))
    named = ours.assign(
        data="fashion-mnist", reference=ours["reference"] + " of " + ours["split"].map(lead.EARLIER)
    )
    joined = lead.with_rivals(named, theirs)
    assert lead.over_best_rival(joined, "fid-lite0").equals(lead.over_best_rival(both, "fid-lite0"))
    assert lead.with_rivals(both, theirs.assign(value=0.0)) is both


def test_seeds_that_not_all_settings_have_are_told():
    both = stored()
    assert lead.uneven_seeds(both.assign(metric="fid-cnn128")) == ""
    fewer = both.assign(metric="fid-cnn128", seed=[0, 1] * (len(both) // 2) + [0] * (len(both) % 2))
    fewer.loc[fewer["flow"] == "default", "seed"] = 1
    assert lead.uneven_seeds(fewer) == "`default` 1; `flow_matching` 0, 1; `gaussian+condot` 0, 1"


def test_rivals_with_equal_steps_alone_are_named_with_their_budget():
    both = stored().assign(metric="fid-cnn128")
    alone = both[(both["flow"] != "flow_matching") | (both["sampler"] == UNIFORM)]
    assert lead.at_one_grid({1000: both, 16000: alone}) == ["`flow_matching` after 16,000 steps"]


def test_the_span_of_the_lead_is_over_budgets_and_numbers_of_evaluations():
    both = pandas.concat([stored(), stored().assign(metric="fid-cnn128")])
    found = lead.spans({1000: both, 16000: both}, [1, 4])
    assert found == {"fid-cnn128": (0.2, 0.25), "fid-lite0": (0.2, 0.25)}


def losses() -> pandas.DataFrame:
    values = {"before": (20, 60), "default": (10, 30)}
    rows = []
    for nfe in (1, 15):
        for flow, (inferred, drawn) in values.items():
            rows += [
                row(f"{flow}, inferred source samples", inferred, nfe, split=None, seed=seed)
                for seed in (0, 1)
            ]
            rows += [
                row(f"{flow}, drawn source samples", drawn + 2 * seed, nfe, split=None, seed=seed)
                for seed in (0, 1)
            ]
    return table(rows)


def test_the_gap_is_what_drawn_source_samples_lose_to_inferred_ones():
    assert lead.sources(losses(), "fid-lite0").loc[("before", 15)].to_dict() == {"inferred": 20, "drawn": 61}
    assert lead.gap_ratio(losses(), "fid-lite0").to_dict() == {1: 21 / 41, 15: 21 / 41}


def test_the_chart_is_drawn(tmp_path: Path):
    both = pandas.concat([losses(), losses().assign(metric="fid-cnn128")])
    lead.draw_losses(both, 1000, tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_the_grid_of_the_default_is_the_librarys_and_one_of_the_studys():
    assert suited_sampler("preconditioned", Coupling.create("posterior")) == lead.GRID
    assert lead.GRID in load_grid(STUDIES / "lead.toml").samplers.values()
