"""Several references, each with samples for its own conditions, such as seen captions and unseen ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowprior.errors import OptionError
from flowprior.evaluation.result import Result
from flowprior.evaluation.sweep import sweep
from flowprior.flow import Flow


def sweep_each(flow: Flow, data: Any, references: Mapping[str, Any], **options: Any) -> dict[str, Result]:
    """A sweep for each reference: samples are generated for its own conditions and compared with it alone.

    :func:`sweep` with ``references`` generates for the conditions of the first one.

    Args:
        flow: as :func:`sweep`.
        data: as :func:`sweep`.
        references: name -> data.
        options: what else :func:`sweep` takes.

    Returns:
        name -> result; :func:`joined` puts them into one long table.

    Raises:
        OptionError: no reference; or as :func:`sweep`.
        InputError: as :func:`sweep`.
    """
    if not references:
        raise OptionError("evaluate: references={} is not possible; give one or more by name")
    return {name: sweep(flow, data, references={name: part}, **options) for name, part in references.items()}


def joined(results: Mapping[str, Result]) -> Result:
    """The results of :func:`sweep_each` as one, told apart by the column ``split``.

    What belongs to no reference, such as transport cost and the seconds of generating, is that of the first.
    ``metrics`` describe the first one's values, where it has them; each row says its own reference.
    """
    first, *others = results.values()
    rows, metrics, notes = list(first.rows), dict(first.metrics), list(first.notes)
    for name, result in list(results.items())[1:]:
        rows += [row for row in result.rows if row["split"] == name]
        metrics = result.metrics | metrics
        notes += result.notes
    each = [result.settings for result in (first, *others)]
    settings = first.settings | {
        "reference": " and ".join(own["reference"] for own in each),
        "reference_digests": {
            name: digest for own in each for name, digest in own["reference_digests"].items()
        },
    }
    return Result(rows, metrics, settings, list(dict.fromkeys(notes)))
