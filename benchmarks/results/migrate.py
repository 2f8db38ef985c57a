"""Once: every stored result becomes a cell file of format 3, with all digits of all its values.

    python benchmarks/results/migrate.py

What is no value goes to ``setting`` (what decides the training) or to ``run`` (how it went). Values that a file
held twice (the prior alone beside its own row at NFE 0) are held once. The check at the end compares the leaves
of the old file with those of the new one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent
Cell = dict[str, Any]
SETTING = (
    *("seed", "prior", "coupling", "path", "prediction", "sampler", "peer", "model", "steps", "batch_size"),
    *("lr", "warmup", "ema", "precision", "channels_last", "sample_every", "checkpoint_every"),
    *("keep_checkpoints", "part", "variant", "count", "spec", "axis", "dims", "conditions", "examples"),
)
RUN = (
    *("seconds", "train_seconds", "judge_seconds", "w2_seconds", "threads", "torch", "flowprior", "commit"),
    *("processor", "machine", "parameters", "training_examples", "features_note", "added", "limit", "clock"),
    *("failed", "without_fallback", "training_cells", "held_out_cells", "types", "held_out_of_each", "draws"),
    *("nfes", "gap"),
)
METRICS = {
    "fid": ("Fréchet distance of feature vectors", "lower"),
    "kid": ("kernel distance of feature vectors", "lower"),
    "accuracy": ("share that the data set's classifier recognises as its class", "higher"),
    "w2_squared": ("squared Wasserstein distance", "lower"),
    "raw": ("squared Wasserstein distance, mean over types", "lower"),
    "debiased": ("the same less half the distance of two draws and of two real halves", "lower"),
    "energy": ("energy distance, unbiased, mean over types", "lower"),
    "sliced": ("sliced squared Wasserstein distance, mean over types", "lower"),
    "transport_cost": ("mean squared distance of the training pairs; no measure of quality", ""),
    "curvature": ("curvature of the exact trajectories", "lower"),
    "log_density": ("log-density of the test split under the prior, nats a dimension", "higher"),
    "auroc": ("area under the ROC curve for telling corrupted from clean by log-density", "higher"),
    "memorisation": ("nearest distance to training examples over that of test examples; 0: copies", "higher"),
    "error": ("mean distance of a sample's condition from the one asked for", "lower"),
}
SIMULATED = {"rehearsed": "simulated"}
"""What a metric was called -> what it is called now."""


def rows_of(found: Any, common: Cell) -> Iterator[Cell]:
    """One row for each metric of a row that holds several."""
    for one in found if isinstance(found, list) else [found]:
        where = {name: one[name] for name in ("nfe", "step") if name in one}
        for metric, value in one.items():
            if metric not in where:
                yield {**common, **where, "metric": metric, "value": value}


def features_of(metric: str, features: list[str] | None) -> str | None:
    if not features or not (metric.startswith(("fid-", "kid-")) or metric.startswith(("accuracy", "share_"))):
        return None
    kind = metric.split("-")[1] if "-" in metric else "cnn128"
    return next(name for name in features if name.startswith(kind))


def images(old: Cell, common: Cell) -> Iterator[Cell]:
    """Sections of pictures, digits, moons, modes and blood cells."""
    test = common | {"split": "test", "reference": old.pop("reference", None)}
    held = common | {"split": "validation", "reference": old.pop("validation_reference", None)}
    real = {"flow": "real data", "sampler": None, "grid": None}
    yield from rows_of(old.pop("floor", []), test | real)
    yield from rows_of(old.pop("validation_floor", []), held | real)
    yield from rows_of(old.pop("collapsed", []), test | real | {"flow": "class means"})
    yield from rows_of(old.pop("rows", []), test)
    yield from rows_of(old.pop("validation", []), held)
    yield from rows_of(old.pop("curve", []), test | {"samples": None})
    for kind, rows in old.pop("start", {}).items():
        yield from rows_of(rows, test | {"flow": f"{common['flow']}, started from {kind}"})
    own = common | {"sampler": None, "grid": None, "samples": None}
    run = old.pop("run", {})
    gap = run.pop("starts_gap", None) or {}
    old["source_gap"] = {name: gap.pop(name) for name in ("starts", "conditions", "permutations") if gap}
    old |= {f"training_{name}": value for name, value in run.items() if name != "transport_cost"}
    values = {name: old.pop(name) for name in ("transport_cost", "curvature", "memorisation") if name in old}
    values |= {"transport_cost": run["transport_cost"]} if run else {}
    values |= {f"source_gap_{name}": value for name, value in gap.items()}
    if "memorisation" in values:
        values |= {"nfe": 15}
    yield from rows_of(values, own) if values else ()
    yield from rows_of(old.pop("prior_figures", []), own | {"nfe": 0})


def moons(old: Cell, common: Cell) -> Iterator[Cell]:
    found = old.pop("w2_squared")
    yield {**common, "sampler": "euler", "nfe": 1, "metric": "w2_squared", "value": found["euler"]}
    adaptive = {"sampler": "dopri5", "grid": "adaptive"}
    yield {**common, **adaptive, "metric": "w2_squared", "value": found["dopri5"]}


def priors(old: Cell, common: Cell) -> Iterator[Cell]:
    for row in old.pop("rows"):
        flow = f"gmm:covariance={row.pop('covariance')},shrinkage={row.pop('shrinkage')}"
        yield from rows_of(row, common | {"flow": flow, "nfe": 0})


def density(old: Cell, common: Cell) -> Iterator[Cell]:
    for row in old.pop("rows"):
        yield from rows_of(row, common | {"flow": row.pop("prior"), "nfe": 0, "condition": row.pop("corruption")})


def gap(old: Cell, common: Cell) -> Iterator[Cell]:
    for row in old.pop("rows"):
        yield from rows_of(row, common | {"condition": row.pop("place")})


def unseen(old: Cell, common: Cell) -> Iterator[Cell]:
    for row in old.pop("rows"):
        own = common | {"nfe": 15, "condition": row.pop("label")}
        for label, share in enumerate(row.pop("shares")):
            yield {**own, "metric": f"share_seen_as_{label}", "value": share}
        yield from rows_of(row, own)


def overhead(old: Cell, common: Cell) -> Iterator[Cell]:
    old["examples"] = old.pop("rows")
    names = ("fit_seconds", "fit_peak_bytes", "state_bytes", "sample_seconds", "log_prob_seconds")
    yield from rows_of({name: old.pop(name) for name in names if name in old}, common)


def posterior_gap(old: Cell, common: Cell) -> Iterator[Cell]:
    for row in old.pop("rows"):
        seed, nfe = row.pop("seed"), row.pop("nfe")
        for kind, value in row.items():
            own = {"flow": f"{common['flow']}, {kind} source samples", "seed": seed, "nfe": nfe}
            yield {**common, **own, "metric": "fid-cnn128", "value": value}


MAKERS: dict[str, Callable[[Cell, Cell], Iterator[Cell]]] = {
    **{"moons": moons, "priors": priors, "density": density, "gap": gap, "unseen": unseen},
    **{"overhead": overhead, "posterior-gap": posterior_gap},
}
COLUMNS = (
    *("flow", "seed", "step", "sampler", "grid", "nfe", "guidance", "condition"),
    *("samples", "split", "reference", "features", "metric", "value"),
)


def migrated(old: Cell, study: str) -> Cell:
    """The cell file of an old one."""
    old = deepcopy(old)
    for twice in ("prior_alone", "starts"):
        alone = old.pop(twice, {})
        start = next((row for row in old["rows"] if row.get("nfe") == 0), {}) if alone else {}
        assert alone.items() <= start.items(), twice
    if "kind" in old:
        old["part"] = old.pop("kind")
    label = old.pop("setting", None) or old.pop("name", None)
    if study == "overhead":
        label = old.pop("prior")
    elif label is None and "prior" in old:
        label = f"{old['prior']}+{old['coupling']}"
    assert not old.pop("samplers", [])
    features = old.pop("features", None)
    samples = old.pop("samples", old.pop("points", None))
    sampler = old.get("sampler") or (None if study == "overhead" else "euler" if label else None)
    common = {"flow": label, "seed": old.get("seed"), "sampler": sampler, "samples": samples}
    make = MAKERS.get(study) or MAKERS.get(old.get("part", ""), images)
    rows = list(make(old, common))
    for row in rows:
        row["features"] = features_of(row["metric"], features)
        row.setdefault("grid", None)
        if row.get("nfe") and row["sampler"] and not row["grid"]:
            row["grid"] = "uniform"
    setting = {"label": label} | {name: old.pop(name) for name in SETTING if name in old}
    run = {name: old.pop(name) for name in RUN if name in old}
    run |= {name: old.pop(name) for name in list(old) if name.startswith(("training_", "source_gap"))}
    run = {name.replace("judge_", "evaluation_"): value for name, value in run.items() if value != {}}
    assert not old, sorted(old)
    return cell_file(setting, run, rows)


def cell_file(setting: Cell, run: Cell, rows: list[Cell]) -> Cell:
    names = dict.fromkeys(row["metric"] for row in rows)
    known = {name: METRICS.get(name.split("-")[0]) or METRICS.get(name) for name in names}
    metrics = {name: {"description": said[0], "better": said[1]} for name, said in known.items() if said}
    rows = [{name: row[name] for name in COLUMNS if row.get(name) is not None} for row in rows]
    return {"format": 3, "setting": setting, "run": run, "metrics": metrics, "rows": rows}


def text(cell: Cell) -> str:
    """JSON with a line for each row."""
    head = json.dumps({**cell, "rows": []}, indent=1, ensure_ascii=False)
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in cell["rows"])
    return head.removesuffix('"rows": []\n}') + f'"rows": [\n{rows}\n ]\n}}\n' if rows else head + "\n"


def leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    elif value is not None and value != "":
        yield json.dumps(value)


def check(old: Cell, new: Cell, study: str) -> None:
    """Every leaf of the old file is in the new one, as often; what was held twice, once."""
    lost = Counter(leaves(old)) - Counter(leaves(new))
    for twice in ("prior_alone", "starts"):
        lost -= Counter(leaves(old.get(twice)))
    words = {json.dumps(word) for row in old["rows"] if isinstance(row, dict) for word in row.values()
             if isinstance(word, str)} if isinstance(old.get("rows"), list) else set()  # fmt: skip
    places = Counter(leaves([[row.get("nfe"), row.get("step")] for row in _rows(old)]))
    shrinkages = Counter(leaves([row.get("shrinkage") for row in _rows(old)]))
    lost = Counter({leaf: n for leaf, n in (lost - places - shrinkages).items() if leaf not in words})
    assert not lost, (study, lost)


def _rows(old: Cell) -> list[Cell]:
    found = [old.get(name) for name in ("rows", "validation", "curve")]
    return [row for rows in found if isinstance(rows, list) for row in rows]


def ranking(name: str, old: Cell) -> Cell:
    """What inspection said of a folder's pairings, beside what their flows became."""
    rows = []
    for row in old["rows"]:
        own = {"flow": f"{row['prior']}+{row['coupling']}"}
        values = {SIMULATED.get(m, m): value for m, value in row.items() if m not in ("prior", "coupling")}
        trained = {metric: {"nfe": old["nfe"]} for metric in old["spearman"]}
        rows += [{**own, **trained.get(m, {}), "metric": m, "value": v} for m, v in values.items()]
    for metric, by_score in old["spearman"].items():
        rows += [{"flow": "all", "metric": f"spearman of {SIMULATED.get(score, score)} and {metric}", "value": value}
                 for score, value in by_score.items()]  # fmt: skip
    if old["agreement"] is not None:
        rows.append({"flow": "all", "metric": "spearman of both features", "value": old["agreement"]})
    setting = {"label": name} | {key: old[key] for key in ("data", "examples", "seed")}
    return cell_file(setting, {key: old[key] for key in ("settings", "cells")}, rows)


def main() -> None:
    for path in sorted(RESULTS.glob("*/*.json")):
        old = json.loads(path.read_text(encoding="utf-8"))
        if old.get("format") == 3:
            continue
        new = migrated(old, path.parent.name)
        check(old, json.loads(text(new)), path.parent.name)
        path.write_text(text(new), encoding="utf-8")
    (RESULTS / "inspect-ranking").mkdir(exist_ok=True)
    listed = RESULTS / "inspect-ranking.json"
    for name, old in json.loads(listed.read_text(encoding="utf-8")).items():
        new = ranking(name, old)
        said = [word for row in old["rows"] for word in (row["prior"], row["coupling"])]
        lost = Counter(leaves(old)) - Counter(leaves(json.loads(text(new)))) - Counter(leaves(said))
        assert not lost - Counter(leaves([old["nfe"]])), lost
        (RESULTS / "inspect-ranking" / f"{name}.json").write_text(text(new), encoding="utf-8")
    listed.unlink()
    dropped = RESULTS / "dropped.json"
    dropped.write_text(dropped.read_text(encoding="utf-8").replace('"judge"', '"evaluator"'), encoding="utf-8")


if __name__ == "__main__":
    main()
