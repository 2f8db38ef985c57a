"""The pictures of the report: every variant's samples of the same conditions and seed, and real data."""

from __future__ import annotations

from typing import Any

from flowprior.errors import FlowpriorError
from flowprior.report.sample_pictures import (
    Samples,
    draw,
    is_drawable,
    kept_counts,
    read_samples,
    real_samples,
)
from flowprior.report.wording import evaluations
from flowprior.study.cell_file import StudyFolder
from flowprior.study.collect import Collection, samples_file
from flowprior.study.splits import Splits

FAVOURITE = 4
"""The number of evaluations whose pictures are open at first, where the grid has it."""


def galleries(folder: StudyFolder, collection: Collection) -> list[dict[str, Any]]:
    """One gallery for each NFE of the first sampler; none without results or of events without a picture.

    The pictures are the first samples of the file that the figures were computed from, of the first seed.
    """
    try:
        frame = real_samples(Splits.of(collection.grid).test)
    except FlowpriorError:
        return []  # The data are gone; every figure is still there.
    seed = collection.grid["seeds"][0]
    labels = [label for label in collection.labels if seed in collection.results[label]]
    if not labels or not is_drawable(frame.x.shape[1:]):
        return []
    counts = sorted(set(kept_counts(samples_file(folder, collection, labels[0], seed, 0))))
    shown = min(counts, key=lambda count: (count == 0, abs(count - FAVOURITE)))
    return [
        {
            "title": f"{_title(count)}, seed {seed}".capitalize(),
            "open": count == shown,
            "pictures": _pictures(folder, collection, labels, seed, count, frame),
        }
        for count in counts
    ]


def _pictures(
    folder: StudyFolder,
    collection: Collection,
    labels: list[str],
    seed: int,
    count: int,
    frame: Samples,
) -> list[dict[str, str]]:
    """The gallery of one NFE; an adaptive sampler's samples are shown whatever it spent."""
    found = []
    for number, label in enumerate(labels):
        path = samples_file(folder, collection, label, seed, 0)
        adaptive = collection.results[label][seed]["run"]["evaluations"][0]["adaptive"]
        spent = max(kept_counts(path)) if adaptive and count else count
        samples = read_samples(path, spent)
        if samples is not None:
            text = f"Samples of {label} with {evaluations(spent, False)}"
            image = draw(samples, frame, f"samples-{count}-{number}", text)
            found.append({"label": label, "image": image})
    real = draw(frame, frame, f"samples-{count}-real", "Real examples")
    return [*found, {"label": "real data", "image": real}]


def _title(count: int) -> str:
    return evaluations(count, False) if count else "the prior alone, 0 evaluations"
