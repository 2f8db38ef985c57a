"""Evaluate the flows of a run: rows of the long table, with the samples behind them kept in files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from flowprior.conditions import Conditions
from flowprior.conditions.rows import named_tensors, value_of_tensors
from flowprior.conditions.values import as_value
from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation.evaluating import evaluate, joined
from flowprior.evaluation.result import COLUMNS, REAL_DATA, Result
from flowprior.features.base import as_extractor
from flowprior.flow import Flow
from flowprior.metrics.base import select
from flowprior.metrics.setup import Generate
from flowprior.registry.options import did_you_mean
from flowprior.samplers import Sampler
from flowprior.samplers.base import Solution
from flowprior.storage.digests import settings_digest, tensors_digest
from flowprior.storage.tensor_files import load_tensors, save_tensors
from flowprior.study.folders import RunFolder
from flowprior.study.grid import Grid
from flowprior.study.records import Count
from flowprior.study.runs import StudyRun
from flowprior.study.splits import Splits
from flowprior.study.variants import load_hook
from flowprior.training.components import resolve_device

Terms = Mapping[str, Any]
"""The terms of an evaluation: sampler, nfe, samples, guidance, seed, conditions, and options of the grid."""


def check_evaluation_parts(options: Mapping[str, Any]) -> None:
    """Check that metrics and features of ``[evaluation]`` are known and installed, before any training."""
    for name in ("metrics", "features"):
        if not isinstance(options.get(name, ""), str | list | tuple):
            raise OptionError(
                f"compare: evaluation.{name}={options[name]!r} is not possible; give a list of names"
            )
    select(options.get("metrics", "quick"))
    for feature in options.get("features", ()):
        as_extractor(feature)


def check_metric(grid: Grid) -> None:
    """Check that the metrics of a grid give the one that its summary is about, before any training.

    Raises:
        OptionError: they give no value of this name.
    """
    names = [metric.names for metric in select(grid.evaluation.get("metrics", "quick"))]
    if not grid.metric or grid.values or None in names:
        return  # a function of the grid's, or a metric of another package, may give it
    known = [name for own in names for name in own or ()]
    if not any(grid.metric == name or grid.metric.startswith(f"{name}-") for name in known):
        raise OptionError(
            f"compare: metric='{grid.metric}' is not measured{did_you_mean(grid.metric, known)} the metrics "
            f"of this grid give {', '.join(known) or 'none that can be ranked'}"
        )


def evaluate_run(run: StudyRun, place: RunFolder, grid: Grid, splits: Splits) -> dict[str, Any]:
    """Return ``metrics``, ``rows`` and ``evaluations`` of the result file; samples are written beside it."""
    device = run.config.training.device
    flow = load_flow(place, None, device)
    rows, metrics, evaluations = [], {}, []
    for number, (step, name, terms) in enumerate(_evaluations(run, place, grid)):
        reached = flow if step in (None, run.config.training.steps) else load_flow(place, step, device)
        recorder, path = Recorder(reached), place.samples(name)
        found = evaluate_flow(terms, reached, splits, recorder)
        recorder.save_samples(path)
        rows += kept_rows(found, number, flow=run.variant.label, step=step, seed=run.seed)
        metrics = {name: asdict(info) for name, info in found.metrics.items()} | metrics
        facts = {"adaptive": Sampler.registry.resolve(terms["sampler"]).adaptive, "request": terms}
        facts |= {"settings": found.settings, "notes": found.notes}
        evaluations.append({"step": step, "samples": path.name, **facts})
    own_rows, own_metrics = _further_values(flow, run, grid, splits)
    return {"metrics": metrics | own_metrics, "rows": rows + own_rows, "evaluations": evaluations}


def _evaluations(run: StudyRun, place: RunFolder, grid: Grid) -> Iterator[tuple[int | None, str, Terms]]:
    """Yield step, name and terms of each: by every sampler, then of the flows on the way by the first one.

    A trainer of the grid's may have kept none on the way.
    """
    curve = grid.curve
    trained = [(None, f"sampler{number}", spec, grid) for number, spec in enumerate(run.samplers)]
    on_the_way = [(step, f"step-{step:06d}", run.samplers[0], curve) for step in run.curve]
    if run.variant.trainer:
        last = run.config.training.steps
        on_the_way = [of for of in on_the_way if of[0] == last or place.flow_at(of[0]).is_dir()]
    for step, name, sampler, counts in [*trained, *on_the_way]:
        terms = {
            "sampler": sampler,
            "nfe": counts.nfe,
            "samples": counts.samples,
            "guidance": grid.guidance,
            "seed": run.seed + grid.evaluation_seed,
            "conditions": grid.conditions,
            "options": dict(grid.evaluation),
        }
        yield step, name, terms


def evaluate_flow(terms: Terms, flow: Flow, splits: Splits, generate: Generate) -> Result:
    """Evaluate ``flow`` in these terms, on the samples that ``generate`` gives in place of ``flow.solve``.

    Test split, validation split and each further reference get samples for their own conditions.
    """
    options = {name: terms[name] for name in ("nfe", "sampler", "samples", "guidance", "seed", "conditions")}
    options |= {"generate": generate, **terms["options"]}
    data = {"test": splits.test, "validation": splits.validation, **splits.references}
    return joined(
        {
            name: evaluate(flow, splits.train, reference=reference, split=name, **options)
            for name, reference in data.items()
            if reference is not None
        }
    )


def kept_rows(found: Result, number: int, *, flow: str, step: int | None, seed: int) -> list[dict[str, Any]]:
    """Return the rows of evaluation ``number`` for the result file, with ``flow``, ``step`` and ``seed`` set.

    What no sampler changes is kept of the first one alone, real data's values not of flows on the way.
    """
    kept = []
    for row in found.rows:
        is_real, is_shared = row["flow"] == REAL_DATA, row["sampler"] is None
        own = {"flow": REAL_DATA, "step": None} if is_real else {"flow": flow, "step": step}
        if not (is_real if step is not None else is_shared and number > 0):
            kept.append(row | own | {"seed": seed})
    return kept


def load_flow(place: RunFolder, step: int | None, device: str) -> Flow:
    """Return the flow of a run after ``step`` steps (None: the trained one), on ``device``."""
    path = place.flow_at(step)
    if not path.is_dir():
        raise CheckpointError(f"{path} is missing; remove {place.path} and run the comparison again")
    # By the run, which says whether the flow in it is its own.
    return Flow.load(place.run if step is None else path, device=resolve_device(device))


def _further_values(
    flow: Flow, run: StudyRun, grid: Grid, splits: Splits
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return rows of the grid's ``values`` function, and its metrics by its attribute ``metrics``."""
    if not grid.values:
        return [], {}
    function = load_hook("values", grid.values)
    empty = dict.fromkeys(COLUMNS) | {"flow": run.variant.label, "seed": run.seed}
    found = function(flow, run, splits)
    rows = [empty | {name: value for name, value in row.items() if value is not None} for row in found]
    return rows, {name: asdict(info) for name, info in getattr(function, "metrics", {}).items()}


_SPENT = TypeAdapter(dict[str, Count])
"""The entry ``nfe`` of the metadata of samples: name of a call -> evaluations that it spent."""


class Recorder:
    """Called like :meth:`flowprior.flow.Flow.solve`: lets ``flow`` solve and keeps the samples.

    What was asked before, of the same conditions with a generator in the same state, is not solved again:
    with balanced conditions all references are compared with the same samples.
    """

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self._calls: Counter[str] = Counter()
        self._tensors: dict[str, Tensor] = {}
        self._spent: dict[str, int] = {}
        self._solved: dict[str, Solution] = {}

    def __call__(self, cond: Conditions | None = None, n: int | None = None, **options: Any) -> Solution:
        plain, generator = {"n": n} | options, options.get("generator") or torch.default_generator
        asked = settings_digest({name: repr(value) for name, value in plain.items() if name != "generator"})
        key = asked + tensors_digest(named_tensors(cond) | {"state": generator.get_state()})
        if key not in self._solved:
            solution, name = self.flow.solve(cond, n, **options), _call_name(self._calls, **options)
            self._tensors |= {f"x/{name}": solution.x}
            self._tensors |= {f"{place}/{name}": tensor for place, tensor in named_tensors(cond).items()}
            self._spent[name] = solution.nfe
            self._solved[key] = solution
        return self._solved[key]

    def save_samples(self, path: Path | str) -> None:
        """Write tensors ``x/…`` ``[N, *event]`` and ``cond/…``, and in the metadata's ``nfe`` what was spent.

        Raises:
            CheckpointError: the file cannot be written.
        """
        save_tensors(path, self._tensors, {"nfe": json.dumps(self._spent)})


def read_samples(
    path: Path | str, event_shape: Sequence[int] | None = None
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the tensors of a file of :class:`Recorder`, and the evaluations that each of its calls spent.

    Args:
        path: of the file.
        event_shape: of the samples, where it is known.

    Raises:
        CheckpointError: the file is missing or corrupted, or holds something else.
    """
    tensors, metadata = load_tensors(path)
    try:
        spent = _SPENT.validate_json(metadata.get("nfe", ""))
    except ValidationError:
        spent = {}
    samples = {name: tensors.get(f"x/{name}", torch.empty(0)) for name in spent}
    fits = samples and all(
        x.is_floating_point() and x.dim() > 1 and tuple(x.shape[1:]) == tuple(event_shape or x.shape[1:])
        for x in samples.values()
    )
    for key, tensor in tensors.items():
        x = samples.get(key.partition("/")[2])
        fits = fits and x is not None and tensor.shape[:1] == x.shape[:1]
    if not fits:
        raise CheckpointError(
            f"{path} holds no samples of an evaluation, or others than it says; remove the result-*.json "
            "beside it and run the comparison again, which evaluates the flow anew"
        )
    return tensors, spent


def conditions_of(tensors: Mapping[str, Tensor], name: str) -> Conditions | None:
    """Return the conditions of the call ``name`` in a file of :class:`Recorder`."""
    split = {key: key.partition("/") for key in tensors}
    places = {place: tensors[key] for key, (place, _, call) in split.items() if call == name}
    return as_value(value_of_tensors(places))


def _call_name(
    seen: Counter[str], nfe: int | None = None, guidance: float = 1.0, generator: Any = None, **_: Any
) -> str:
    """Return the name of a call of ``Flow.solve``: its settings, and a number where ``seen`` has the same."""
    seed = "" if generator is None else f"/seed={generator.initial_seed()}"
    name = f"nfe={'own' if nfe is None else nfe}/guidance={guidance:g}{seed}"
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}/call={seen[name]}"
