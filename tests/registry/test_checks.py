"""What users give as options is checked in one place; what options mean is read from docstrings."""

from __future__ import annotations

import numpy as np
import pytest

from flowprior.errors import OptionError
from flowprior.paths import Path
from flowprior.registry import check_counts
from flowprior.registry.options import check_numbers, did_you_mean, is_whole, option_meanings, plain
from flowprior.registry.plugins import package_version
from flowprior.samplers import Sampler
from flowprior.study import load_grid
from flowprior.training import TrainingConfig


@pytest.mark.parametrize("wrong", [True, "3", 0, -2, None, 1.0, float("nan")])
def test_counts_refuse_booleans_texts_and_what_is_too_small(wrong: object) -> None:
    check_counts("mlp", depth=1)
    with pytest.raises(OptionError, match="is not possible; expected a whole number, 1 or more"):
        check_counts("mlp", depth=wrong)


def test_counts_are_checked_against_a_least_and_a_most() -> None:
    check_counts("prior", 0, latent=0, depth=3)
    check_counts("evaluate", 2, 1_000_000, samples=1_000_000)
    with pytest.raises(OptionError, match="expected a whole number, from 2 to 1,000,000"):
        check_counts("evaluate", 2, 1_000_000, samples=1_000_001)


@pytest.mark.parametrize("wrong", [True, "1", None, -0.1, 1.1, float("nan"), float("inf")])
def test_numbers_are_finite_and_within_their_bounds(wrong: object) -> None:
    check_numbers("prior", holdout=(0, 0, 1), share=(1.0, 0, 1))
    with pytest.raises(OptionError, match="prior: expected holdout to be a number from 0 to 1, got "):
        check_numbers("prior", holdout=(wrong, 0, 1))


def test_whole_numbers_are_those_of_python_and_of_numpy() -> None:
    assert all(map(is_whole, [3, np.int64(3), -1]))
    assert not any(map(is_whole, [True, 3.0, "3", None]))


def test_the_nearest_known_word_is_offered_where_one_is_near() -> None:
    assert did_you_mean("gmn", ["gmm", "gaussian"]) == "; did you mean 'gmm'?"
    assert did_you_mean("comp", ["covariance", "components"]) == "; did you mean 'components'?"
    assert did_you_mean("com", ["covariance", "components"], "--") == "; did you mean '--components'?"
    assert did_you_mean("co", ["covariance", "components"]) == ";", "two letters begin too many words"
    assert did_you_mean("resnet", ["unet", "mlp"]) == ";", "three common letters are none of a misspelling"
    assert did_you_mean("xyz", ["gmm", "gaussian"]) == ";"


def test_the_version_of_a_package_that_is_not_installed_is_said_in_words() -> None:
    assert package_version("no-such-package-of-ours") == "unknown"
    assert package_version("no-such-package-of-ours", "not installed") == "not installed"
    assert package_version("torch")[0].isdigit()


def test_a_number_that_no_float_can_hold_is_refused() -> None:
    for refused in (
        lambda: Path.create("condot", sigma_min=10**400),
        lambda: TrainingConfig(lr=10**400),
        lambda: Sampler.create("euler", temperature=10**400),
        lambda: load_grid(values={"guidance": 10**400}),
    ):
        with pytest.raises(OptionError, match="is not possible"):
            refused()


# -- the meanings of options ----------------------------------------------------------------------


class Base:
    """A base.

    Args:
        shared: what all have.
        own: as the base says it.
    """


class Component(Base):
    """A component.

    Args:
        own: as :class:`~somewhere.Component` says it,
            in two lines.
        low, high: ends of the
            interval.

    Raises:
        OptionError: never.
    """


def test_a_class_says_what_its_options_mean_and_its_bases_say_the_rest() -> None:
    assert option_meanings(Component) == {
        "shared": "what all have.",
        "own": "as Component says it, in two lines.",
        "low": "ends of the interval.",
        "high": "ends of the interval.",
    }


def test_a_function_is_read_too_and_a_docstring_without_arguments_gives_none() -> None:
    def made(n: int) -> int:
        """Make some.

        Args:
            n: how many.

        Returns:
            count: no argument.
        """
        return n

    def silent() -> None: ...

    assert option_meanings(made) == {"n": "how many."}
    assert option_meanings(silent) == {}


def test_marks_of_restructured_text_are_taken_off() -> None:
    assert (
        plain("see :func:`~a.b.make` and\n :mod:`a.b <the page>` or ``None``") == "see make and a.b or None"
    )
