"""A command for the tests of entry points."""

import typer

from flowprior.errors import OptionError


def count_letters(word: str, upper: bool = False) -> None:
    """Count the letters of a word."""
    if not word.isalpha():
        raise OptionError(f"count-letters: expected a word of letters, got {word!r}")
    typer.echo(f"{word.upper() if upper else word}: {len(word)}")
