"""The paper's toy of eight modes."""

from __future__ import annotations

import statistics

from benchmarks.studies.report.formatting import (
    Cell,
    cells,
    grouped,
    ran,
    shown_at,
    spread,
    table,
    value_at,
    worse_than_prior,
)

NFES = (1, 2, 4, 8, 15, 30)


def eight_modes() -> str:
    """The section; nothing where the experiment was not run."""
    found = cells("eight-modes")
    if not found:
        return ""
    by_setting, first = grouped(found, "setting"), found[0]
    floor = statistics.mean(cell["floor"]["w2_squared"] for cell in found)
    parts = [
        "## Eight modes: the paper's toy",
        f"`python -m benchmarks.studies.eight_modes`: `{first['model']}`, {first['steps']} steps of "
        f"{first['batch_size']}; {ran(found)} `designed` is isotropic at each mode's mean, as in the paper; "
        "`gmm` has the variance of each coordinate. Mean ± standard deviation over seeds.",
        f"W2² of each mode, {first['points']} points, averaged over the modes (two sets of real points: "
        f"{floor:.3f}); DDPM by its ancestral sampler, the others by Euler:",
        _table(by_setting, "w2_squared", (0, *NFES)),
        worse_than_prior(by_setting, "w2_squared", NFES),
        "Global truncation error E‖x − x(1)‖² of Euler against the flow's own exact solution:",
        _table(by_setting, "global_error"),
        "Transport cost of the training pairs, and curvature of the exact trajectories:",
        table(
            ["setting", "transport cost", "curvature"],
            [
                [
                    f"`{name}`",
                    *(spread([cell[key] for cell in group], 3) for key in ("transport_cost", "curvature")),
                ]
                for name, group in by_setting.items()
            ],
        ),
        _against_the_paper(by_setting),
    ]
    return "\n\n".join(filter(None, parts))


def _table(by_setting: dict[str, list[Cell]], metric: str, nfes: tuple[int, ...] = NFES) -> str:
    rows = [
        [f"`{name}`", *(shown_at(group, nfe, metric, 3) for nfe in nfes)]
        for name, group in by_setting.items()
    ]
    return table(["setting, at NFE", *map(str, nfes)], rows)


def _against_the_paper(by_setting: dict[str, list[Cell]]) -> str:
    """Whether the designed prior alone does what the paper says, in figures."""
    names = ("gaussian+condot", "designed+condot")
    if any(name not in by_setting for name in names):
        return ""
    base, designed = (by_setting[name] for name in names)

    def ratio(metric: str) -> float:
        values = [statistics.mean(value_at(c, 4, metric) for c in group) for group in (designed, base)]
        return values[0] / values[1]

    cost = [statistics.mean(c["transport_cost"] for c in group) for group in (designed, base)]
    return (
        f"Against the paper: the designed prior alone cuts the transport cost to {cost[0] / cost[1]:.2f} of "
        "N(0, I)'s, but at 4 evaluations the global truncation error only to "
        f"{ratio('global_error'):.2f} and W2² to {ratio('w2_squared'):.2f}: a shorter path is not by itself "
        "a straighter one. Pairing within the mode is what makes it straight; pairing across modes "
        "(BatchOT) bends the source away from its condition."
    )
