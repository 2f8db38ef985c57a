"""The values of a study as one long table in a CSV file, compressed where its name ends in ``.gz``.

A row is one value of one run. From the left its columns are::

    run       the name of the run
    setting   what decided the training: label, data, prior, coupling, seed, steps and others
    facts     :data:`FACTS`: commit, versions, machine, and what the run cost
    measured  :data:`flowprior.evaluation.result.COLUMNS`

A value that does not apply is empty. The same rows give the same bytes: they are sorted, and numbers have
seven significant digits.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError
from flowprior.evaluation.result import COLUMNS
from flowprior.storage import read_bytes, replacing

FACTS = (
    *("commit", "dirty", "legacy", "version", "torch", "device", "device_name", "threads"),
    *("parameters", "prior_bytes", "prior_fit_seconds", "seconds_per_step", "seconds"),
    *("transport_cost", "transport_cost_unpaired", "source_mismatch"),
)
"""The facts of a run that are not its setting.

``legacy`` is true of a run that no clean commit of flowprior's history has made; ``source_mismatch`` is the
energy coefficient between the source samples of training and of sampling.
"""
LEADING = ("run", "label", "data", "latent", "prior", "coupling", "path", "prediction", "model", "trainer")
"""The first columns, in this order; further keys of the setting follow in alphabetical order."""
ALWAYS = ("run", "commit", "dirty", "legacy")
"""The columns that stand in every table, be they empty."""
SORTED_BY = ("label", "seed", "run")
"""The columns by which rows are sorted before all others."""
DIGITS = 7
"""Significant digits of numbers that are not whole."""
LIMIT = 64 << 20
"""Longest file that is read, in bytes."""
Row = dict[str, Any]


def rows_of_run(
    name: str, setting: Mapping[str, Any], facts: Mapping[str, Any], rows: Iterable[Row]
) -> list[Row]:
    """The rows of one run.

    Args:
        name: of the run.
        setting: what decided the training, as flat plain values.
        facts: of :data:`FACTS`, as :func:`facts_of` gives them.
        rows: of its evaluation; one without a seed has that of the setting.
    """
    shared = {"run": name} | {key: value for key, value in setting.items() if key not in COLUMNS}
    empty = dict.fromkeys(COLUMNS) | {"seed": setting.get("seed")}
    known = ({key: value for key, value in row.items() if value is not None} for row in rows)
    return [{**shared, **facts, **empty, **row} for row in known]


def facts_of(run: Mapping[str, Any]) -> Row:
    """:data:`FACTS` of what a run has written of itself."""
    commit, _, changed = (run.get("commit") or "").partition("-")
    mismatch = run.get("starts_gap") or {}
    own = {
        "commit": commit or None,
        "dirty": bool(changed),
        "legacy": not commit or bool(changed),
        "source_mismatch": mismatch.get("coefficient"),
    }
    return {name: run.get(name) for name in FACTS} | own


def write_results(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table of results; the previous file survives a failure.

    Args:
        path: of the file; one whose name ends in ``.gz`` is compressed.
        rows: of :func:`rows_of_run` or :func:`read_rows`.

    Raises:
        CheckpointError: the file cannot be written.
    """
    texts = [{name: _text(value) for name, value in row.items()} for row in rows]
    columns = _columns({name for row in texts for name, text in row.items() if text})
    order = [*(name for name in SORTED_BY if name in columns), *columns]
    texts.sort(key=lambda row: [_order(row.get(name, "")) for name in order])
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(texts)
    content = table.getvalue().encode()
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(content, mtime=0) if _is_compressed(path) else content)


def read_rows(path: Path | str) -> list[dict[str, str]]:
    """The rows of a table of results, all of whose values are texts.

    Raises:
        CheckpointError: the file is missing, damaged or another one.
    """
    return list(csv.DictReader(io.StringIO(read_table_text(path))))


def read_table_text(path: Path | str) -> str:
    """The text of a table of results.

    Raises:
        CheckpointError: the file is missing, damaged or another one.
    """
    try:
        content = read_bytes(path, LIMIT)
        text = (gzip.decompress(content) if _is_compressed(path) else content).decode()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise CheckpointError(f"{path} is damaged ({error}); write it anew") from error
    missing = [name for name in ("run", "metric", "value") if name not in text.partition("\n")[0].split(",")]
    if missing:
        raise CheckpointError(f"{path} is no table of results: expected the columns run, metric and value")
    return text


def _is_compressed(path: Path | str) -> bool:
    return str(path).endswith(".gz")


def _columns(known: set[str]) -> list[str]:
    """The columns of these that there are, in their order; what was measured always has its columns."""
    settings = sorted(known.difference(LEADING, FACTS, COLUMNS))
    found = [name for name in (*LEADING, *settings, *FACTS) if name in known or name in ALWAYS]
    return [*found, *COLUMNS]


def _text(value: Any) -> str:
    """A value as it stands in the file."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def _order(text: str) -> tuple[int, float, str]:
    """Sort nothing before numbers, and numbers before texts."""
    try:
        return (1, float(text), "") if text else (0, 0.0, "")
    except ValueError:
        return (2, 0.0, text)
