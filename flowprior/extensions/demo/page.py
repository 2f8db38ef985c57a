"""The demo page, built of gradio's components, which refuse numbers beyond their bounds."""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import Any

import gradio
from PIL import Image

from flowprior.errors import FlowpriorError, OptionError
from flowprior.extensions.demo.answer import PICTURES, POINTS, Field, Wanted, answer, is_cloud
from flowprior.flow import Flow
from flowprior.flow.conditioning import check_guidance
from flowprior.pictures.saving import figure_bytes

MOST_NFE = 100
"""The largest number of function evaluations (NFE) on the page."""
MOST_TEMPERATURE = 1.5
"""The largest temperature on the page."""
MOST_SAMPLES = 16
"""The largest number of samples on the page."""
HIGHEST_SEED = 2**31 - 1
"""The largest seed on the page."""


def build_page(flow: Flow, run: str, fields: Sequence[Field]) -> gradio.Blocks:
    """Return a page that draws samples of ``flow``.

    Args:
        flow: the flow to sample.
        run: the name of the flow on the page.
        fields: the fields of :func:`flowprior.extensions.demo.answer.fields_of`.
    """
    # Files of pictures are removed after an hour, and at the end.
    with gradio.Blocks(analytics_enabled=False, title=f"flowprior: {run}", delete_cache=(600, 3600)) as page:
        parts = ", ".join(html.escape(f"{part} {flow.specs[part]}") for part in ("prior", "coupling"))
        gradio.HTML(f"<h1>{html.escape(run)}</h1><p>{parts}</p>")
        inputs = [_input(field) for field in fields]
        numbers = _numbers(flow)
        button = gradio.Button("Draw", variant="primary", elem_id="draw")
        shown = [_picture(name, title) for name, title in PICTURES.items()]
        notes = gradio.HTML("", elem_id="notes")

        def respond(*values: Any) -> list[Any]:
            asked = {"samples": POINTS, **dict(zip(numbers, values[len(inputs) :], strict=True))}
            asked["seed"] = asked["seed"] or 0  # None of an empty field
            try:
                found = answer(flow, fields, values[: len(inputs)], Wanted(**asked))
            except FlowpriorError as error:
                raise gradio.Error(html.escape(str(error)), print_exception=False) from None
            images = [Image.open(io.BytesIO(figure_bytes(found.figures[name]))) for name in PICTURES]
            return [*images, f"<p>{html.escape(found.spent)}</p>"]

        for call in (button.click, *(box.submit for box in inputs if isinstance(box, gradio.Textbox))):
            call(
                respond,
                [*inputs, *numbers.values()],
                [*shown, notes],
                api_visibility="private",
                concurrency_limit=1,
            )
    return page


def _input(field: Field) -> gradio.Textbox | gradio.Dropdown:
    name = f"field-{field.name}"
    if field.kind == "caption":
        return gradio.Textbox(label=field.title, value="", max_lines=3, elem_id=name)
    choices = list(zip(field.choices, range(len(field.choices)), strict=True))
    return gradio.Dropdown(choices, value=0, label=field.title, elem_id=name)


def _numbers(flow: Flow) -> dict[str, Any]:
    """Return the component of the page for each field of :class:`Wanted`."""
    usual = Wanted()
    found: dict[str, Any] = {
        "nfe": gradio.Slider(
            0,
            MOST_NFE,
            usual.nfe,
            step=1,
            precision=0,
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
    try:
        check_guidance(2.0, flow.condition, flow.metadata)
    except OptionError as refusal:
        if flow.condition.kind != "none":
            gradio.HTML(f"<p>{html.escape(str(refusal))}</p>")
    else:
        found["guidance"] = gradio.Slider(0, 10, 1, step=0.1, label="Guidance; 1 is none", elem_id="guidance")
    if not is_cloud(flow):
        found["samples"] = gradio.Slider(
            1, MOST_SAMPLES, usual.samples, step=1, precision=0, label="Samples", elem_id="n"
        )
    found["seed"] = gradio.Number(
        usual.seed, label="Seed", precision=0, minimum=0, maximum=HIGHEST_SEED, elem_id="seed"
    )
    return found


def _picture(name: str, title: str) -> gradio.Image:
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
