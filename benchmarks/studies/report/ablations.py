"""Ablations on digits: σ, number of components, covariance, kind of prior."""

from __future__ import annotations

from benchmarks.studies.ablations import COUPLINGS, PRIORS
from benchmarks.studies.report.formatting import Cell, cells, shown_at, table, worse_than_prior
from benchmarks.studies.report.judges import judge_sentence
from benchmarks.studies.report.small_flows import NFES, at, least, made, mean_of, shown

TITLES = {
    "sigma": "Width σ of the learned-mean prior",
    "components": "Components K of the diagonal mixture",
    "covariance": "Covariance of the mixture, K = 1",
    "kind": "Kind of prior",
}
Groups = dict[str, list[Cell]]


def ablations() -> str:
    """The section; "" where nothing has run."""
    found = cells("ablations")
    if not found:
        return ""
    floor = found[0]["floor"]["fid-cnn128"]
    head = (
        "## Ablations on digits\n\n"
        f"`python -m benchmarks.studies.ablations` (8 × 8 digits): {made(found)} {judge_sentence(found)} "
        f"The tables show fid-cnn128 against the test split (training pictures: {floor:.1f}); `condot` pairs "
        "at random within the class, as the paper does, `ot` by optimal transport within it."
    )
    return "\n\n".join([head, *(_group(name, found) for name in PRIORS)])


def _group(name: str, found: list[Cell]) -> str:
    header = [name, "NFE 0, the prior alone", *(f"{c}, NFE {nfe}" for c in COUPLINGS for nfe in NFES)]
    by_coupling = {coupling: by_value(name, found, coupling) for coupling in COUPLINGS}
    rows = []
    for value in PRIORS[name]:
        own = [by_coupling[coupling][value] for coupling in COUPLINGS]
        alone = shown_at(own[0], 0, "fid-cnn128", 1)
        rows.append([value, alone, *(shown(g, lambda c, n=nfe: at(c, n)) for g in own for nfe in NFES)])
    notes = [_note(name, coupling, groups) for coupling, groups in by_coupling.items()]
    return "\n\n".join([f"### {TITLES[name]}", table(header, rows), " ".join(filter(None, notes))]).rstrip()


def by_value(name: str, found: list[Cell], coupling: str) -> Groups:
    """value -> its cells, in the order of the plan."""
    return {
        value: [cell for cell in found if (cell["prior"], cell["coupling"]) == (spec, coupling)]
        for value, spec in PRIORS[name].items()
    }


def _note(name: str, coupling: str, groups: Groups) -> str:
    """Who is best at each number of evaluations, read off the means."""
    if not any(groups.values()):
        return ""
    best = {nfe: least(groups, lambda cell, n=nfe: at(cell, n)) for nfe in NFES}
    text = f"`{coupling}`: best at NFE " + ", ".join(f"{nfe}: {value}" for nfe, value in best.items()) + "."
    lost = worse_than_prior(groups, "fid-cnn128", NFES)
    return " ".join(filter(None, [text, lost, _sigma(groups) if name == "sigma" else _worse(name, groups)]))


def _sigma(groups: Groups) -> str:
    """How the σ of the authors' code compares with the best one, and what σ = 0 does."""
    said = []
    for nfe in (4, 15):
        means = {v: mean_of(g, lambda cell, n=nfe: at(cell, n)) for v, g in groups.items() if g}
        if "0.7" in means:
            ratio = means["0.7"] / min(means.values())
            said.append(f"{ratio:.2f} times the best at NFE {nfe}")
    return f"σ = 0.7, the authors' value, is at {' and '.join(said)}." if said else ""


def _worse(name: str, groups: Groups) -> str:
    """Where the plain Gaussian is not beaten, said plainly."""
    if name != "kind" or not groups["gaussian"]:
        return ""
    worse = [
        f"{value} at NFE {nfe}"
        for value, group in groups.items()
        for nfe in NFES
        if value != "gaussian" and group
        if mean_of(group, lambda c, n=nfe: at(c, n)) > mean_of(groups["gaussian"], lambda c, n=nfe: at(c, n))
    ]
    if not worse:
        return "Every other prior beats `gaussian` at every NFE."
    return f"**Worse than `gaussian`, against the paper's claim: {', '.join(worse)}.**"
