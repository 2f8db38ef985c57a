"""Sources fitted to the data without a condition, paired independently."""

from __future__ import annotations

from benchmarks.studies.report.formatting import Cell, cells, counted, grouped, table, worse_than_prior
from benchmarks.studies.report.judges import judge_sentence
from benchmarks.studies.report.small_flows import at, made, mean_of, shown

KINDS = ("unlabelled", "labelled")


def unconditional_source() -> str:
    """The section; "" where nothing has run."""
    found = cells("unconditional-source")
    if not found:
        return ""
    head = (
        "## Unconditional sources fitted to the data, independent pairing (digits)\n\n"
        f"`python -m benchmarks.studies.unconditional_source`: {made(found)} {judge_sentence(found)} "
        "fid-cnn128 against the test split; NFE 0 is the source alone. `gaussian` is N(0, I); the others are "
        "fitted to all training pictures without their labels. "
        "SourceFM (arXiv 2512.18184) reports for CIFAR-10: N(0, I) 4.40, mixtures of 1 / 2 / 10 Gaussians "
        "11.75 / 12.49 / 12.11, a data-fitted source hurts."
    )
    return "\n\n".join([head, *filter(None, (_kind(kind, found) for kind in KINDS))])


def _kind(kind: str, found: list[Cell]) -> str:
    groups = grouped([cell for cell in found if cell["kind"] == kind], "setting")
    if not groups:
        return ""
    first = next(iter(groups.values()))[0]
    nfes = [row["nfe"] for row in first["rows"]]
    rows = [
        [f"`{name}`", *(shown(group, lambda cell, n=nfe: at(cell, n)) for nfe in nfes)]
        for name, group in groups.items()
    ]
    title = f"The network is {'not ' if kind == 'unlabelled' else ''}told the labels"
    floor = f"Training pictures in place of samples: {first['floor']['fid-cnn128']:.1f}."
    shown_rows = table(["source, at NFE", *map(str, nfes)], rows)
    said = " ".join(filter(None, [_said(groups, nfes), worse_than_prior(groups, "fid-cnn128", nfes)]))
    return f"**{title}.** {floor}\n\n{shown_rows}\n\n{said}"


def _said(groups: dict[str, list[Cell]], nfes: list[int]) -> str:
    """Ratio of each fitted source to N(0, I) at the most evaluations, and whether SourceFM is confirmed."""
    most, plain = max(nfes), groups.get("gaussian")
    fitted = {name: g for name, g in groups.items() if name.startswith("gmm") and not name.endswith("+ot")}
    if not plain or not fitted:
        return ""
    ratios = {
        name: mean_of(g, lambda cell: at(cell, most)) / mean_of(plain, lambda cell: at(cell, most))
        for name, g in fitted.items()
    }
    worse = [name for name, ratio in ratios.items() if ratio > 1]
    verdict = (
        "as SourceFM reports"
        if len(worse) == len(ratios)
        else "**which contradicts SourceFM**"
        if not worse
        else "SourceFM's negative result holds for some sources only"
    )
    listed = ", ".join(f"`{name}` {ratio:.2f}" for name, ratio in ratios.items())
    return (
        f"As a ratio to N(0, I) at {most} evaluations: {listed}. Of the fitted mixtures {len(worse)} of "
        f"{len(ratios)} are worse than N(0, I): {verdict} ({counted(len(plain), 'seed')})."
    )
