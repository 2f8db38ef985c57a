"""The options of ``flowprior sample`` for captions: them, one to guide away from, and the encoder of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flowprior.cli.conditions import SampleOptions, SampleRequest, every_combination, words_of_labels
from flowprior.cli.options import CONDITIONS, SAMPLING
from flowprior.errors import OptionError
from flowprior.storage.reading import read_lines

if TYPE_CHECKING:
    from flowprior.flow import Flow

PROMPTS_LIMIT = 1 << 20
"""The longest file of captions that is read, in bytes."""
CAPTION = "caption"
"""The key of the captions among the words of rows; several are stored as its plural."""


def captions(
    text: Annotated[
        list[str] | None,
        typer.Option(help="Caption, for a flow of captions; can be repeated.", rich_help_panel=CONDITIONS),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File of captions, one a line.", rich_help_panel=CONDITIONS),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option(
            help="Negative prompt: caption to guide away from; needs --guidance.", rich_help_panel=SAMPLING
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Text encoder (flowprior list encoders); by default the one of the training data.",
            rich_help_panel=CONDITIONS,
        ),
    ] = None,
) -> CaptionOptions | None:
    """Return the captions that are asked for, or None where no option is given.

    Raises:
        OptionError: captions by two options, or an empty file.
        InputError: a file that is missing, too long, or no text.
    """
    if text and prompts is not None:
        raise OptionError("--text and --prompts exclude each other; choose one of them")
    if not text and prompts is None and negative is None and encoder is None:
        return None
    if prompts is not None:
        lines = [line.strip() for line in read_lines(prompts, PROMPTS_LIMIT) if line.strip()]
        if not lines:
            raise OptionError(f"--prompts {prompts} holds no caption; write one a line")
        return CaptionOptions("--prompts", lines, negative, encoder)
    return CaptionOptions("--text" if text else "", text or [], negative, encoder)


class CaptionOptions(SampleOptions):
    """The captions of a command as conditions, a negative caption, and the encoder of both.

    Args:
        option: the option that gives the captions; empty without captions.
        texts: the captions.
        negative: the caption to guide away from, or None.
        encoder: the spec of a text encoder; None for the one that the flow remembers.
    """

    def __init__(self, option: str, texts: Sequence[str], negative: str | None, encoder: str | None) -> None:
        self.option, self.texts, self.encoder = option, texts, encoder
        self.settings: Mapping[str, Any] = {} if negative is None else {"negative": negative}

    def prepare(self, flow: Flow) -> None:
        """Set the flow's text encoder to the given one."""
        if self.encoder is not None:
            flow.text_encoder = self.encoder

    def read(self, flow: Flow, count: int | None, labels: Mapping[str, str]) -> SampleRequest:
        """Return the samples that the captions ask for, each with every label of the other parts.

        Raises:
            OptionError: labels of a part that the flow does not have.
            InputError: the flow has no text encoder, or another one than made its embeddings.
        """
        from flowprior.conditions.rows import as_value
        from flowprior.flow.readers import TEXTUAL

        words = every_combination({CAPTION: self.texts} | words_of_labels(flow, labels))
        texts = words.pop(CAPTION)
        asked: Any = texts
        if flow.condition.kind == "parts":
            asked = {name: texts for name, part in flow.condition.parts if part.kind in TEXTUAL} | words
        value = as_value(flow.words.read(asked, None, "sample"))
        return SampleRequest.of_rows(value, count, {CAPTION + "s" * (len(texts) > 1): texts, **words})
