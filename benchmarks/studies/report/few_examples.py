"""Few examples of each class: priors, and flows."""

from __future__ import annotations

from benchmarks.studies.few_examples import COUNTS, COVARIANCES, SETTINGS, SHRINKAGES
from benchmarks.studies.report.formatting import Cell, cells, spread, table, worse_than_prior
from benchmarks.studies.report.judges import judge_sentence
from benchmarks.studies.report.small_flows import at, made, mean_of, shown

PAIRS = (("gmm+ot", "gmm-shrunk+ot"), ("lowrank8+ot", "lowrank8-shrunk+ot"))


def few_examples() -> str:
    """The section; "" where nothing has run."""
    found = cells("few-examples")
    priors = [cell for cell in found if cell["kind"] == "priors"]
    flows = [cell for cell in found if cell["kind"] == "flow"]
    if not found:
        return ""
    parts = ["## Few examples of each class (digits)", "`python -m benchmarks.studies.few_examples`"]
    if priors:
        parts += [_priors(priors)]
    if flows:
        parts += [_flows(flows)]
    return "\n\n".join(parts)


def _name(count: int) -> str:
    return "all" if count == max(COUNTS) else str(count)


def _priors(found: list[Cell]) -> str:
    rows = []
    for covariance in COVARIANCES:
        for shrinkage in SHRINKAGES:
            line = [covariance, f"{shrinkage:g}"]
            for count in COUNTS:
                own = [_row(c, covariance, shrinkage)["log_density"] for c in found if c["count"] == count]
                line.append(_density(own))
            rows.append(line)
    return (
        "Log-density of the test split under the prior alone, in nats a dimension (higher is better), "
        "against examples of each class; shrinkage counts the pooled moments as so many examples more:\n\n"
        + table(["covariance", "shrinkage", *map(_name, COUNTS)], rows)
        + "\n\n"
        + _shrinkage_helps(found)
    )


def _row(cell: Cell, covariance: str, shrinkage: float) -> Cell:
    return next(r for r in cell["rows"] if (r["covariance"], r["shrinkage"]) == (covariance, shrinkage))


def _density(own: list[float]) -> str:
    if not own:
        return "–"
    return spread(own, 2) if min(own) > -1000 else f"{sum(own) / len(own):.1e}"


def _shrinkage_helps(found: list[Cell]) -> str:
    """For each count, the best shrinkage of the diagonal prior, read off the means."""
    best = []
    for count in COUNTS:
        own = [cell for cell in found if cell["count"] == count]
        if own:
            winner = max(
                SHRINKAGES, key=lambda s: mean_of(own, lambda c, s=s: _row(c, "diag", s)["log_density"])
            )
            best.append(f"{_name(count)}: {winner:g}")
    return f"Best shrinkage of the diagonal prior at each count: {', '.join(best)}."


def _flows(found: list[Cell]) -> str:
    parts = [f"{made(found)} {judge_sentence(found)}"]
    for title, figure, digits in (
        ("fid-cnn128 of the prior alone (NFE 0)", lambda c: at(c, 0), 1),
        ("fid-cnn128 at 4 evaluations", lambda c: at(c, 4), 1),
        ("fid-cnn128 at 15 evaluations", lambda c: at(c, 15), 1),
        ("Class accuracy at 15 evaluations", lambda c: at(c, 15, "accuracy"), 2),
        (
            "Nearest distance to the training examples over that of test pictures, 15 evaluations (0: "
            "copies)",
            lambda c: c["memorisation"],
            2,
        ),
    ):
        rows = [
            [f"`{name}`", *(shown(_of(found, name, count), figure, digits) for count in COUNTS)]
            for name in SETTINGS
        ]
        parts.append(f"{title}:\n\n" + table(["setting, examples of each class", *map(_name, COUNTS)], rows))
    return "\n\n".join([*parts, _against_priors(found), _effect(found)])


def _against_priors(found: list[Cell]) -> str:
    """Where a flow loses to its own prior, for each setting and count."""
    groups = {f"{name}, {_name(count)}": _of(found, name, count) for name in SETTINGS for count in COUNTS}
    return worse_than_prior(groups, "fid-cnn128", (1, 4, 15))


def _of(found: list[Cell], name: str, count: int) -> list[Cell]:
    return [cell for cell in found if (cell["setting"], cell["count"]) == (name, count)]


def _effect(found: list[Cell]) -> str:
    """Ratio of the shrunk prior's figure to the plain one's, at each count."""
    said = []
    for plain, shrunk in PAIRS:
        ratios = []
        for count in COUNTS:
            groups = [_of(found, name, count) for name in (shrunk, plain)]
            if all(groups):
                ratio = mean_of(groups[0], lambda c: at(c, 4)) / mean_of(groups[1], lambda c: at(c, 4))
                ratios.append(f"{_name(count)}: {ratio:.2f}")
        if ratios:
            said.append(f"`{shrunk}` over `{plain}`, {', '.join(ratios)}")
    return "What shrinkage does to fid-cnn128 at 4 evaluations, as a ratio: " + "; ".join(said) + "."
