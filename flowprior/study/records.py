"""The JSON files of a study and what they must hold; every one is read by :func:`read_record`.

A file may be damaged, of another version, or somebody else's. The classes below list the keys that the
report and the tables read, with their types; further keys are ignored. A file that fits is
returned as plain dictionaries and lists, any other one is refused in one line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from flowprior.errors import CheckpointError
from flowprior.storage.reading import read_json

FORMAT = 3
"""The format of plan, result files and report; format 2 had one row for each number of evaluations."""
OLDER = {"1": "judged residual and epsilon flows wrongly", "2": "an older flowprior wrote"}
LIMIT = 256 << 20
"""Longest file that is read, in bytes."""


def _for_toml(grid: Any) -> Any:
    """The grid, if it can be written as TOML, as report and grid.toml do; null cannot."""
    try:
        tomli_w.dumps(grid)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError("expected a grid that TOML can hold") from error
    return grid


Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Scalar = str | bool | Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | Number | None
Entry = Scalar | list[Any] | dict[str, Any]
"""A value that a table can hold: its whole numbers have 64 bits."""
FileName = Annotated[str, Field(pattern=r"^\w[^/\\\x00]*$")]
"""A name inside the folder, which leads to no other one."""
Labels = dict[str, str]


class Record(BaseModel):
    """Base class of what a file holds; no value is converted."""

    model_config = ConfigDict(strict=True)


class Failure(Record):
    """``failure-KEY.json``: why a run failed."""

    error: str


class Formatted(Record):
    """A file that says its format."""

    format: int


class PlannedRun(Record):
    seed: Count
    name: FileName
    key: FileName


class PlannedVariant(Record):
    label: str
    prior: str
    coupling: str
    path: str
    prediction: str
    samplers: Labels
    skipped: str | None
    refused_samplers: Labels
    cells: list[PlannedRun]


class GridTraining(Record):
    steps: Count
    batch_size: Count
    precision: str
    lr: Number
    warmup: Number
    ema: Number


class GridCurve(Record):
    samples: Count


class GridRecord(Record):
    data: str
    model: str
    baseline: str
    metric: str
    seeds: Annotated[list[Count], Field(min_length=1)]
    samples: Annotated[Count, Field(ge=1)]
    validation: Count
    guidance: Number
    samplers: Labels
    references: Labels = {}
    variants: dict[str, Labels] = {}
    trainer: str = ""
    values: str = ""
    training: GridTraining
    curve: GridCurve


def _some_run(variants: list[PlannedVariant]) -> list[PlannedVariant]:
    if all(variant.skipped is not None for variant in variants):
        raise ValueError("expected a variant that is not skipped")
    return variants


class Plan(Formatted):
    """``plan.json``: the grid, its variants and their runs."""

    grid: Annotated[GridRecord, BeforeValidator(_for_toml)]
    samplers: Annotated[Labels, Field(min_length=1)]
    variants: Annotated[list[PlannedVariant], AfterValidator(_some_run)]


class Row(Record):
    flow: str | None = None
    seed: Count | None = None
    step: Count | None = None
    sampler: str | None = None
    grid: str | None = None
    nfe: Number | None = None
    guidance: Number | None = None
    condition: Scalar = None
    samples: Number | None = None
    split: str | None = None
    reference: str | None = None
    features: str | None = None
    metric: str
    value: Number | None = None


class Facts(Record):
    """Base class of facts, a word or a number each, of which some are listed."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, Scalar]  # type: ignore[reportIncompatibleVariableOverride]


class Setting(Facts):
    label: str
    seed: Count
    steps: Count


class Settings(Record):
    device: str
    classifier: str | None
    classifier_accuracy: Number | None = None
    reference: str | None = None
    features: list[str] = []
    flowprior: str | None = None
    torch: str | None = None


class Evaluation(Record):
    step: Count | None
    samples: FileName
    adaptive: bool
    settings: Settings
    notes: list[str]


class Run(Facts):
    commit: str | None
    parameters: Count
    prior_fit_seconds: Number | None = None
    prior_bytes: Number | None = None
    seconds_per_step: Number | None = None
    transport_cost: Number | None = None
    transport_cost_unpaired: Number | None = None
    starts_gap: dict[str, Entry] | None = None
    evaluations: Annotated[list[Evaluation], Field(min_length=1)]


class Metric(Record):
    description: str
    samples: Count
    reference: str
    better: Literal["lower", "higher", ""]


class ResultFile(Formatted):
    """``result-KEY.json``: a result file as a study leaves it."""

    key: str
    setting: Setting
    run: Run
    rows: Annotated[list[Row], Field(min_length=1)]
    metrics: dict[str, Metric]


def read_record(path: Path, kind: type[Record], command: str = "flowprior compare") -> dict[str, Any]:
    """The object in a file of a study.

    Args:
        path: of the file.
        kind: what it must hold.
        command: writes it anew.

    Raises:
        CheckpointError: it is missing, damaged, of another format, or holds something else.
    """
    anew = f"remove it and run again: {command}"
    try:
        found = read_json(path, LIMIT)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is missing or damaged ({error}); {anew}") from error
    if issubclass(kind, Formatted) and found.get("format") != FORMAT:
        written = str(found.get("format"))[:20]
        raise CheckpointError(
            f"{path} has format {written}, which {OLDER.get(written, 'is another one')}; this flowprior has "
            f"format {FORMAT}: to evaluate the trained flows again, run its study again with: {command}"
        )
    try:
        kind.model_validate(found)
    except ValidationError as error:
        raise CheckpointError(f"{path} is damaged: {_first(error)}; {anew}") from error
    return found


def _first(error: ValidationError) -> str:
    """Return the place of the first mistake, what was expected there, and what came."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"expected a key {place}, got none"
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{place}: {message}, got {repr(first['input'])[:40]}"
