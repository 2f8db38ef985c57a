"""The conditions of ``flowprior sample``: labels, arrays in a file, or those of options that extensions add.

Labels of parts are asked for by ``--part NAME=VALUE``. Options of extensions, such as ``--text``, are for the
condition or for the parts that are no labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowprior.errors import DataNotFoundError, InputError, OptionError
from flowprior.registry.options import did_you_mean, listed_names
from flowprior.storage.user_paths import expanded

if TYPE_CHECKING:
    from torch import Tensor

    from flowprior.conditions import Condition, Conditions
    from flowprior.flow import Flow
    from flowprior.pictures.points import Panel

SINGLE, EACH = 64, 8
"""The default numbers of samples of a single condition, and of each of several."""
NAMELESS = "(empty)"
"""The name of a row without a word, such as the empty caption, in a figure."""
LABEL = "label"
"""The key of the words of rows that are labels, where these are the whole condition."""


@dataclass(frozen=True)
class SampleRequest:
    """The samples that a command draws.

    Attributes:
        cond: condition of each sample ``[N, …]``; None for a flow without.
        n: number of samples, where ``cond`` does not give it.
        rows: the row of a figure in which each sample stands, ``[N]``; None for no rows.
        words: part -> its word for each row: labels, or captions.
    """

    cond: Conditions | None
    n: int | None = None
    rows: Tensor | None = None
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of_rows(
        cls, conditions: Conditions, count: int | None, words: Mapping[str, Sequence[str]] | None = None
    ) -> SampleRequest:
        """Return a request of so many samples of each condition.

        Args:
            conditions: one for each row of a figure.
            count: samples of each; None for 64 of a single one, 8 of several.
            words: part -> its word for each row.
        """
        import torch

        each = count or (SINGLE if len(conditions) == 1 else EACH)
        rows = torch.arange(len(conditions)).repeat_interleave(each)
        return cls(conditions[rows], None, rows, words or {})

    @property
    def size(self) -> int:
        """The number of samples."""
        return len(self.cond) if self.cond is not None else self.n or 0

    @property
    def names(self) -> list[str] | None:
        """The text beside each row of a figure, made of its words; None without words."""
        rows = zip(*self.words.values(), strict=True)
        return [", ".join(word.strip() or NAMELESS for word in words) for words in rows] or None


class SampleOptions:
    """The result of a provider of options of ``sample``; a subclass overrides what its options change.

    Attributes:
        option: the option that asks for conditions, such as ``--text``; empty where none of them does.
        settings: arguments of :meth:`flowprior.Flow.solve`.
    """

    option: str = ""
    settings: Mapping[str, Any] = {}

    def prepare(self, flow: Flow) -> None:
        """Change what the flow is sampled with, such as its text encoder, before a condition is read."""

    def read(self, flow: Flow, count: int | None, labels: Mapping[str, str]) -> SampleRequest:
        """Return the samples that :attr:`option` asks for.

        Args:
            flow: to be sampled.
            count: samples of each condition; None for 64 of a single one, 8 of several.
            labels: part -> its labels, as :func:`read_labels` gives them.

        Raises:
            FlowpriorError: a condition that the flow does not have.
        """
        raise NotImplementedError

    def panels(
        self, flow: Flow, request: SampleRequest, x: Tensor, panels: dict[str, Panel]
    ) -> dict[str, Panel]:
        """Return the panels of a figure of samples x ``[N, *event]``; ``panels`` are those of the prior."""
        return panels


def asking_for_conditions(provided: Sequence[SampleOptions], cond: str | None) -> SampleOptions | None:
    """Return the one that asks for conditions, or None.

    Args:
        provided: by the providers of options.
        cond: of ``--cond``.

    Raises:
        OptionError: two of them do, or one beside ``--cond``.
    """
    found = [each for each in provided if each.option]
    named = [*(each.option for each in found), *(["--cond"] if cond is not None else [])]
    if len(named) > 1:
        raise OptionError(f"{named[0]} and {named[1]} exclude each other; choose one of them")
    return found[0] if found else None


def read_labels(parts: Sequence[str] | None) -> dict[str, str]:
    """Return part -> its labels, as they were written.

    Args:
        parts: of ``--part``, each ``NAME=VALUE``.

    Raises:
        OptionError: one that is no ``NAME=VALUE``, or a part that is given twice.
    """
    found: dict[str, str] = {}
    for text in parts or ():
        name, _, value = text.partition("=")
        if not name or not value:
            raise OptionError(f"--part {text!r} is not possible; write NAME=VALUE, such as style=noto")
        if name in found:
            raise OptionError(f"the part '{name}' is given twice; write --part {name}=A,B for several labels")
        found[name] = value
    return found


def read_request(flow: Flow, cond: str | None, count: int | None, labels: Mapping[str, str]) -> SampleRequest:
    """Return the samples that ``--cond`` or labels of parts ask for.

    Args:
        flow: to be sampled.
        cond: of ``--cond``: labels with commas between, ``all`` (None is the same), a file ``.npy``, or a
            file ``.npz`` with the arrays ``cond`` or ``cond.NAME`` of a data set.
        count: samples of each condition; None for 64 of a single one, 8 of several.
        labels: part -> its labels, as :func:`read_labels` gives them.

    Raises:
        OptionError: a condition that the flow does not have.
        InputError: no label of that name.
    """
    from flowprior.conditions.rows import as_value

    condition = flow.condition
    if labels and cond is not None:
        raise OptionError("--part and --cond exclude each other; write labels as --part NAME=VALUE")
    if labels:
        words = every_combination(words_of_labels(flow, labels))
        return SampleRequest.of_rows(as_value(flow.words.read(words, None, "sample")), count, words)
    if condition.kind != "none" and cond is not None and Path(cond).suffix in (".npy", ".npz"):
        return SampleRequest.of_rows(condition.check(_rows_of(cond, condition), f"--cond {cond}"), count)
    if condition.kind == "labels":
        found = _names_in(cond or "all", flow.words.label_names(), condition)
        return SampleRequest.of_rows(flow.words.read(found, None, "--cond"), count, {LABEL: found})
    if condition.kind == "none" and cond is None:
        return SampleRequest(None, count or SINGLE)
    refused = "nothing is asked for" if cond is None else f"--cond={cond!r} is not possible"
    ending = {"embeddings": "npy", "tensor": "npy", "parts": "npz"}.get(condition.kind)
    advice = f"give arrays as --cond FILE.{ending}, or see" if ending else "see"
    raise OptionError(
        f"{refused}: this flow's condition is {condition.describe()}; {advice} the options for conditions in "
        "flowprior sample --help"
    )


def _rows_of(cond: str, condition: Condition) -> Conditions:
    """Return the conditions in the file of ``--cond``."""
    from flowprior.conditions.rows import as_value
    from flowprior.streams.array_files import condition_in, read_arrays

    file = expanded(cond)
    if file.suffix == ".npy":
        return read_rows(file, "--cond", condition.describe())
    if not file.is_file():
        raise DataNotFoundError(f"--cond: no file {file}; give an existing .npz file")
    found = condition_in(read_arrays(file), str(file))
    if found is not None and len(as_value(found)):
        return found
    raise InputError(f"--cond {file}: expected arrays cond or cond.NAME with rows, got none")


def words_of_labels(flow: Flow, labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Return part -> the names or numbers of its labels.

    Args:
        flow: whose condition has parts.
        labels: part -> its labels, as :func:`read_labels` gives them.

    Raises:
        OptionError: a part of labels that the flow does not have.
    """
    known = {name: part for name, part in flow.condition.parts if part.kind == "labels"}
    for name in labels:
        if name not in known:
            raise OptionError(
                f"--part {name}: no part of labels of this name{did_you_mean(name, list(known))} this flow's "
                f"condition is {flow.condition.describe()}"
            )
    return {name: _names_in(text, flow.words.label_names(name), known[name]) for name, text in labels.items()}


def every_combination(words: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return part -> its word in each row, of rows for every combination of the words of all parts."""
    rows = list(product(*words.values()))
    return {name: [row[place] for row in rows] for place, name in enumerate(words)}


def _names_in(text: str, names: Sequence[str], condition: Condition) -> list[str]:
    """Return the names or numbers of labels in a text with commas between; of all labels for ``all``."""
    known = list(names) or [str(label) for label in range(condition.size)]
    return known if text == "all" else listed_names(text, known)


def read_rows(path: Path, option: str, expected: str) -> Tensor:
    """Return the rows ``[N, …]`` of the array in the file of an option, finite ones.

    Raises:
        DataNotFoundError: no such file.
        InputError: no array with rows of numbers.
    """
    import numpy as np

    from flowprior.streams.user_tensors import check_finite, plain_tensor

    if not path.is_file():
        raise DataNotFoundError(f"{option}: no file {path}; give an existing .npy file")
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # What a damaged or foreign file raises is its own affair.
        raise InputError(
            f"{option}: {path} holds no array of numbers ({error}); write it by numpy.save"
        ) from error
    rows = plain_tensor(values, "rows", f"{option} {path}")
    rows = rows.float() if rows.is_floating_point() else rows.long()
    if not rows.dim() or not len(rows):
        raise InputError(f"{option}: {path} holds no row; expected {expected}")
    if rows.dim() > 1:
        check_finite(rows, "rows", f"{option} {path}")
    return rows
