"""What options mean is read from docstrings, those of bases included."""

from __future__ import annotations

from flowprior.registry.options import option_meanings, plain


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
