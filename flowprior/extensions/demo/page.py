"""The page itself, built of gradio's components."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from flowprior.errors import FlowpriorError, OptionError
from flowprior.extensions.demo.answer import (
    HIGHEST_SEED,
    MOST_NFE,
    MOST_SAMPLES,
    PICTURES,
    POINTS,
    Answer,
    Wanted,
    answer,
    is_cloud,
    refusal_of_guidance,
)
from flowprior.extensions.demo.fields import Field
from flowprior.flow import Flow
from flowprior.pictures import figure_bytes

if TYPE_CHECKING:
    from gradio import Blocks
    from matplotlib.figure import Figure
    from PIL.Image import Image

BUTTON = "Draw"
MOST_TEMPERATURE = 1.5
MOST_CHOICES = 1000
"""Classes that are chosen from a list; of more the number is asked for."""


def build_page(flow: Flow, run: str, fields: Sequence[Field], encoder: str | None = None) -> Blocks:
    """A page that draws from ``flow``.

    Args:
        flow: to draw from.
        run: what the page calls it, and its folder in commands.
        fields: of :func:`flowprior.extensions.demo.fields_of`.
        encoder: text encoder, where it is not the one that the run remembers, for commands.
    """
    import gradio

    # Files of pictures are removed after an hour, and at the end.
    with gradio.Blocks(analytics_enabled=False, title=f"flowprior: {run}", delete_cache=(600, 3600)) as page:
        gradio.HTML(_heading(flow, run))
        inputs = [_input(field) for field in fields]
        numbers = _numbers(flow)
        button = gradio.Button(BUTTON, variant="primary", elem_id="draw")
        shown = [_picture(name, title) for name, title in PICTURES.items()]
        notes = gradio.HTML("", elem_classes="command", elem_id="notes")
        given = [*inputs, *numbers.values()]
        respond = _responding(flow, partial(answer, flow, run, fields, encoder=encoder), list(numbers))
        calls: list[Callable[..., Any]] = [button.click]
        calls += [box.submit for box in inputs if isinstance(box, gradio.Textbox)]
        for call in calls:
            call(respond, given, [*shown, notes], api_name=False, concurrency_limit=1)
    return page


def _heading(flow: Flow, run: str) -> str:
    parts = ", ".join(html.escape(f"{part} {flow.specs[part]}") for part in ("prior", "coupling"))
    return f"<h1>{html.escape(run)}</h1><p>{parts}</p>"


def _input(field: Field) -> Any:
    import gradio

    if field.kind == "caption":
        return gradio.Textbox(label=field.title, value="", max_lines=3, elem_id=f"field-{field.name}")
    if len(field.choices) > MOST_CHOICES:
        title = f"{field.title}, a number of 0 to {len(field.choices) - 1:,}"
        return gradio.Number(0, label=title, precision=0, minimum=0, elem_id=f"field-{field.name}")
    choices = list(zip(field.choices, range(len(field.choices)), strict=True))
    return gradio.Dropdown(choices, value=0, label=field.title, elem_id=f"field-{field.name}")


def _numbers(flow: Flow) -> dict[str, Any]:
    """Field of :class:`Wanted` -> what asks for it."""
    import gradio

    usual = Wanted()
    found: dict[str, Any] = {
        "nfe": gradio.Slider(
            0,
            MOST_NFE,
            usual.nfe,
            step=1,
            label="Evaluations of the velocity (NFE); 0 is the prior alone",
            elem_id="nfe",
        ),
        "temperature": gradio.Slider(
            0,
            MOST_TEMPERATURE,
            usual.temperature,
            step=0.05,
            label="Temperature of the source samples; 0 is the prior's mean",
            elem_id="temperature",
        ),
    }
    refusal = refusal_of_guidance(flow)
    if refusal is None:
        found["guidance"] = gradio.Slider(0, 10, 1, step=0.1, label="Guidance; 1 is none", elem_id="guidance")
    elif flow.condition.kind != "none":
        gradio.HTML(f"<p>{html.escape(refusal)}</p>")
    if not is_cloud(flow):
        found["samples"] = gradio.Slider(1, MOST_SAMPLES, usual.samples, step=1, label="Samples", elem_id="n")
    found["seed"] = gradio.Number(
        usual.seed, label="Seed", precision=0, minimum=0, maximum=HIGHEST_SEED, elem_id="seed"
    )
    return found


def _picture(name: str, title: str) -> Any:
    import gradio

    gradio.HTML(f"<h2>{html.escape(title)}</h2>")
    return gradio.Image(
        label=title,
        show_label=False,
        alt_text=title,
        format="png",
        type="pil",
        interactive=False,
        buttons=["download"],
        elem_classes="picture",
        elem_id=name.replace(" ", "-"),
    )


def _responding(flow: Flow, draw: Callable[..., Answer], names: Sequence[str]) -> Callable[..., Any]:
    """What the button calls with the values of the page; gives the pictures and the notes below them."""

    def respond(*values: Any) -> list[Any]:
        import gradio

        count = len(values) - len(names)
        own, numbers = values[:count], values[count:]
        try:
            found = draw(own, _wanted(flow, dict(zip(names, numbers, strict=True))))
        except FlowpriorError as error:
            raise gradio.Error(html.escape(str(error)), print_exception=False) from None
        return [*(_image(found.figures[name]) for name in PICTURES), _notes(found)]

    return respond


def _wanted(flow: Flow, values: dict[str, Any]) -> Wanted:
    """The numbers of the page, where a whole one may come as 15.0."""
    if is_cloud(flow):
        values = {**values, "samples": POINTS}
    try:
        whole = {name: int(values[name]) for name in ("nfe", "samples", "seed") if name in values}
        return Wanted(**{**values, **whole})
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, FlowpriorError):
            raise
        raise OptionError(
            "demo: expected numbers for NFE, temperature, guidance, samples and seed; fill them in"
        ) from error


def _image(figure: Figure) -> Image:
    from PIL import Image

    return Image.open(io.BytesIO(figure_bytes(figure)))


def _notes(found: Answer) -> str:
    spent = f"<p>{html.escape(found.spent)}</p>"
    if found.command is None:
        return spent
    return f"{spent}<p>The same samples on the command line:</p><code>{html.escape(found.command)}</code>"
