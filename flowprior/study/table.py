"""The values of a study as one long table: a CSV file, and a pandas data frame (extra ``plot``).

A row is one value of one run. From the left its columns are::

    run       the name of the run
    setting   what decided the training: label, data, prior, coupling, seed, steps and others
    facts     :data:`FACTS`: commit, versions, machine, and what the run cost
    measured  :data:`flowprior.evaluation.result.COLUMNS`

A value that does not apply is empty. The same rows give the same bytes: they are sorted, and numbers have
seven significant digits. A file is compressed where its name ends in ``.gz``.

Distances of features and accuracies are comparable only under one set of feature extractors, against one
reference set, from equally many samples. Runs on the same data that differ in one of these are refused, in
one line.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from flowprior.errors import CheckpointError, FlowpriorError
from flowprior.evaluation.result import COLUMNS
from flowprior.evaluation.summary import Row
from flowprior.features.base import short
from flowprior.storage.reading import read_bytes
from flowprior.storage.writing import replacing
from flowprior.study.folder import Study, StudyFolder, read_study

FACTS = (
    *("commit", "dirty", "legacy", "version", "torch", "device", "device_name", "threads"),
    *("fitted_prior", "parameters", "prior_numbers", "prior_bytes", "prior_fit_seconds"),
    *("seconds_per_step", "seconds", "cpu_seconds"),
    *("transport_cost", "transport_cost_unpaired", "source_mismatch"),
)
"""The facts of a run that are not its setting.

``fitted_prior`` names the parts that a fit chose, such as the distribution of the latents. ``legacy`` is true
of a run that no clean commit of flowprior's history has made; ``source_mismatch`` is the energy coefficient
between the source samples of training and of sampling.
"""
LEADING = ("run", "label", "data", "latent", "prior", "coupling", "path", "prediction", "model", "trainer")
"""The first columns, in this order; further keys of the setting follow in alphabetical order."""
ALWAYS = ("run", "commit", "dirty", "legacy")
"""The columns that stand in every table, even where they are empty."""
SORTED_BY = ("label", "seed", "run")
"""The columns by which rows are sorted before all others."""
DIGITS = 7
"""Significant digits of numbers that are not whole."""
LIMIT = 64 << 20
"""The size in bytes of the longest file that is read."""
DataFrame = Series = Any
"""The types of pandas, which a checker cannot follow."""
Source = Path | str
WITH_FEATURES = ("fid-", "kid-", "c2st-", "accuracy")
"""The beginnings of metrics that depend on the weights of a feature extractor or classifier."""
WHOLE = ["seed", "step", "nfe", "samples"]
"""Columns of whole numbers."""
TEXTS: dict[Hashable, Any] = dict.fromkeys(
    ["run", "label", "data", "flow", "sampler", "condition", "commit"], "str"
)
"""Columns of texts, also where these look like numbers."""


class MixedEvaluations(FlowpriorError):
    """Values of several feature extractors, references or sample counts were to stand in one table."""


def rows_of_run(
    name: str, setting: Mapping[str, Any], facts: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]
) -> list[Row]:
    """Return the rows of one run.

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
    """Return :data:`FACTS` of what a run has written of itself."""
    commit, _, changed = (run.get("commit") or "").partition("-")
    mismatch = run.get("starts_gap") or {}
    own = {
        "commit": commit or None,
        "dirty": bool(changed),
        "legacy": not commit or bool(changed),
        "source_mismatch": mismatch.get("coefficient"),
    }
    return {name: run.get(name) for name in FACTS} | own


def result_rows(study: Study) -> list[Row]:
    """Return the rows of results.csv: every value of a study beside what is known of its run."""
    runs = {result.key: result for result in study.runs()}  # two labels may stand for one run
    return [
        row
        for key, result in runs.items()
        for row in rows_of_run(key, result.setting, result.facts, result.rows)
    ]


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
    """Return the rows of a table of results, all of whose values are texts.

    Raises:
        CheckpointError: the file is missing, damaged or another one.
    """
    return list(csv.DictReader(io.StringIO(read_table_text(path))))


def read_table_text(path: Path | str) -> str:
    """Return the text of a table of results.

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
    """Return the columns of these that there are, in their order; those of COLUMNS are always there."""
    settings = sorted(known.difference(LEADING, FACTS, COLUMNS))
    found = [name for name in (*LEADING, *settings, *FACTS) if name in known or name in ALWAYS]
    return [*found, *COLUMNS]


def _text(value: Any) -> str:
    """Return a value as it stands in the file."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def _order(text: str) -> tuple[int, float, str]:
    """Sort nothing before numbers, and numbers before texts."""
    try:
        return (1, float(text), "") if text else (0, 0.0, "")
    except ValueError:
        return (2, 0.0, text)


def read_table(source: Source) -> DataFrame:
    """Return every value of a study, one row each, beside what is known of its run.

    Args:
        source: the folder ``--out`` of ``flowprior compare``, or a table of results (``.csv``, ``.csv.gz``).

    Raises:
        CheckpointError: there is none, or a file is damaged or of another format.
        MixedEvaluations: two feature extractors, references or sample counts among the values of one metric.
    """
    import pandas

    if (study := StudyFolder(source)).plan.is_file():
        table: DataFrame = pandas.DataFrame(result_rows(read_study(study)))
    elif Path(source).is_file():
        text = io.StringIO(read_table_text(source))
        table = pandas.read_csv(text, keep_default_na=False, na_values=[""], dtype=TEXTS, low_memory=False)
    else:
        raise CheckpointError(
            f"{source} holds no study; give the OUT folder of flowprior compare, or a table of its results"
        )
    if table.empty:
        raise CheckpointError(f"{source} holds no values yet; run it with: flowprior compare --out {source}")
    table = table.reindex(columns=list(dict.fromkeys([*COLUMNS, "run", *table.columns])))
    table = table.astype(dict.fromkeys(WHOLE, "Int64"))
    refuse_mixed(table, Path(source).name)
    return table


def refuse_mixed(table: DataFrame, where: str) -> None:
    """Refuse a table of :func:`read_table`, which ``where`` names, whose values must not stand together.

    Raises:
        MixedEvaluations: two feature extractors, references or sample counts of one metric.
    """
    compared = table["metric"].astype(str).str.startswith(WITH_FEATURES)
    extractor, on_the_way = table["features"].fillna("unknown weights").where(compared), table["step"].notna()
    data = [table["data"]] if "data" in table else []
    for (metric, split, *_), own in table.groupby(["metric", "split", on_the_way, *data], dropna=False):
        terms = {"feature extractor": extractor[own.index]}
        terms |= {name: own[name] for name in ("reference", "samples")}
        for what, values in terms.items():
            if values.nunique() > 1:
                counts = own.groupby(values)["run"].nunique()
                kinds = " and ".join(f"{short(str(kind))} ({n} runs)" for kind, n in counts.items())
                of = f"{metric}, {split} split" if isinstance(split, str) else metric
                raise MixedEvaluations(
                    f"{where}: expected one {what} for all runs of a table ({of}), got {kinds}; evaluate "
                    "them again alike, or remove those of one kind"
                )
