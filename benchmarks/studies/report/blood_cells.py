"""PBMC cells: distances of each type, the setting chosen on a part of the training cells."""

from __future__ import annotations

from benchmarks.studies.cell_distances import METRICS
from benchmarks.studies.cells import BUDGET, FOLLOWED, NFES, SHORTER
from benchmarks.studies.report.formatting import (
    METRICS as METRIC_NAMES,
)
from benchmarks.studies.report.formatting import (
    Cell,
    cells,
    grouped,
    shown_at,
    spread,
    table,
    worse_than_prior,
)
from benchmarks.studies.report.small_flows import at, least, made, mean_of, shown

GOAL = 0.6
PLAIN = "gaussian+condot"
TITLES = METRIC_NAMES


def blood_cells() -> str:
    """The section; "" where nothing has run."""
    found = cells("cells")
    result = grouped([cell for cell in found if cell["kind"] == "result"], "setting")
    choice = grouped([cell for cell in found if cell["kind"] == "choice"], "setting")
    if not result:
        return ""
    first = next(iter(result.values()))[0]
    shown_cells = [cell for group in result.values() for cell in group]
    counts = ", ".join(
        f"{name} {n}" for name, n in zip(first["types"], first["held_out_of_each"], strict=True)
    )
    head = (
        "## Beyond pictures: blood cells (PBMC, PCA-50, ten types)\n\n"
        f"`python -m benchmarks.studies.cells`: {made(shown_cells)} {first['training_cells']} training "
        f"and {first['held_out_cells']} held-out cells, halved anew by every seed ({counts} held out); as "
        f"many generated cells as held-out ones, {first['draws']} draws; each distance is the mean over "
        "types, all types equal. NFE 0 is the prior alone."
    )
    parts = [head, _meaning(shown_cells), _table(result, shown_cells)]
    parts += [" ".join(worse_than_prior(result, metric, NFES) for metric in METRICS).strip()]
    return "\n\n".join(filter(None, [*parts, _chosen(choice, result), _shorter(found, result)]))


def _meaning(found: list[Cell]) -> str:
    """Whether raw W2² can rank generators here: what the truth and what copies of the mean get."""
    truth, copies = (mean_of(found, lambda c, k=key: c[k]["raw"]) for key in ("floor", "collapsed"))
    verdict = (
        "so **raw W2² rewards the collapse to the mean and cannot rank generators here**"
        if copies < truth
        else "so raw W2² ranks the truth before the collapse"
    )
    return (
        f"Raw W2² of real training cells in place of generated ones is {truth:.1f}, that of each type's mean "
        f"repeated {copies:.1f}: {verdict}. Debiased W2² (less half the distance of two draws and of two "
        "real halves), energy distance (unbiased) and sliced W2² do not."
    )


def _table(result: dict[str, list[Cell]], found: list[Cell]) -> str:
    header = ["setting", *(f"{TITLES[m]}, NFE {n}" for m in ("raw", "debiased") for n in NFES)]
    header += [f"{TITLES[m]}, NFE 4" for m in ("energy", "sliced")]
    rows = []
    for name, group in result.items():
        figures = [shown_at(group, n, m, 1) for m in ("raw", "debiased") for n in NFES]
        figures += [shown(group, lambda c, m=m: at(c, 4, m), 2) for m in ("energy", "sliced")]
        rows.append([f"`{name}` ({len(group)})", *figures])
    for name, key in (("real training cells", "floor"), ("type means repeated", "collapsed")):
        own = {m: spread([cell[key][m] for cell in _once(found)], 2) for m in METRICS}
        rows.append(
            [name, *[own["raw"]] * len(NFES), *[own["debiased"]] * len(NFES), own["energy"], own["sliced"]]
        )
    return table(header, rows)


def _once(found: list[Cell]) -> list[Cell]:
    """One cell of each seed: the anchors do not depend on the setting."""
    return list({cell["seed"]: cell for cell in found}.values())


def _chosen(choice: dict[str, list[Cell]], result: dict[str, list[Cell]]) -> str:
    """The designed setting that was chosen, and its ratios to CondOT's."""
    designed = {name: group for name, group in choice.items() if name != PLAIN and name in result}
    if not designed or PLAIN not in result:
        return ""
    rows = []
    for metric in METRICS:
        name = least(designed, lambda c, m=metric: at(c, 4, m))
        seeds = {cell["seed"] for cell in result[name]} & {cell["seed"] for cell in result[PLAIN]}
        ours, plain = ([c for c in result[n] if c["seed"] in seeds] for n in (name, PLAIN))
        ratio = mean_of(ours, lambda c, m=metric: at(c, 4, m)) / mean_of(
            plain, lambda c, m=metric: at(c, 4, m)
        )
        better = sum(
            at(next(c for c in ours if c["seed"] == s), 4, metric)
            < at(next(c for c in plain if c["seed"] == s), 4, metric)
            for s in seeds
        )
        met = "yes" if ratio <= GOAL else "**no**"
        rows.append([TITLES[metric], f"`{name}`", f"{ratio:.2f}", f"{better} of {len(seeds)}", met])
    header = ["distance", "chosen by it", "ratio to `gaussian+condot`", "seeds better", f"≤ {GOAL}"]
    splits = len({cell["seed"] for group in choice.values() for cell in group})
    return (
        f"At 4 evaluations, one setting for each distance, chosen by that distance on a quarter of the "
        f"training cells held out of a training of its own ({splits} of the halvings; other halvings hold "
        "some of these cells out):\n\n" + table(header, rows)
    )


def _shorter(found: list[Cell], result: dict[str, list[Cell]]) -> str:
    """What smaller budgets give, as a ratio to CondOT's after as many steps; "" where none has run."""
    by_steps = {steps: _budget(found, steps) for steps in SHORTER}
    by_steps = {steps: groups for steps, groups in by_steps.items() if groups.get(PLAIN)}
    if not by_steps:
        return ""
    by_steps[BUDGET.steps] = {name: group for name, group in result.items() if name in FOLLOWED}
    metrics = ("raw", "debiased", "energy")
    rows = [
        [str(steps), f"`{name}` ({len(group)})", *(_with_ratio(group, groups[PLAIN], m) for m in metrics)]
        for steps, groups in by_steps.items()
        for name, group in groups.items()
    ]
    return (
        f"With smaller budgets (each a training of its own), at 4 evaluations; in brackets the ratio to "
        f"`{PLAIN}` after as many steps, bold where it is ≤ {GOAL}:\n\n"
        + table(["steps", "setting", *(TITLES[m] for m in metrics)], rows)
    )


def _budget(found: list[Cell], steps: int) -> dict[str, list[Cell]]:
    return grouped([cell for cell in found if cell["kind"] == f"shorter-{steps}"], "setting")


def _with_ratio(group: list[Cell], plain: list[Cell], metric: str) -> str:
    """Mean and deviation, and the ratio of means to those of CondOT."""
    figure = shown(group, lambda c: at(c, 4, metric), 2)
    if group is plain:
        return figure
    ratio = mean_of(group, lambda c: at(c, 4, metric)) / mean_of(plain, lambda c: at(c, 4, metric))
    return f"{figure} ({f'**{ratio:.2f}**' if ratio <= GOAL else f'{ratio:.2f}'})"
