"""The report in a real browser, at phone and desktop width, light and dark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowprior.report import write_report
from tests.report import browser

pytestmark = pytest.mark.slow

WIDTHS = (390, 1280)
LONG = "gmm:covariance=lowrank,rank=64,reg_covar=0.16"
HEADINGS = [
    "Quality against evaluations",
    "Quality against training steps",
    "Samples side by side",
    "Values",
    "What it costs",
    "Not among these values",
    "Settings and versions",
]

BEYOND_THE_PAGE = """
return [...document.querySelectorAll('body *')].filter(element => {
  if (element.closest('.scroll') && !element.matches('.scroll')) return false;
  const box = element.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(element => element.outerHTML.slice(0, 200));
"""
ROOM_BESIDE_THE_FIGURE = """
return [...document.querySelectorAll('figure.card > img')].map(drawn => {
  const card = drawn.parentElement, style = getComputedStyle(card);
  const inside = card.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return [inside - drawn.getBoundingClientRect().width, card.innerText.slice(0, 40)];
});
"""
HINTS = """
const done = arguments[arguments.length - 1], seen = hint => hint.checkVisibility({checkVisibilityCSS: true});
const frames = then => requestAnimationFrame(() => requestAnimationFrame(then));
const parts = [...document.querySelectorAll('.scroll')];
frames(() => {
  const wide = parts.map(part => [seen(part.previousElementSibling), part.scrollWidth - part.clientWidth]);
  parts.forEach(part => { part.scrollLeft = 1e4 });
  frames(() => done([wide, parts.every(part => !seen(part.previousElementSibling))]));
});
"""


@pytest.fixture(scope="module")
def hard(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with long labels, a failed cell, one that waits, and a variant that is skipped."""
    out = tmp_path_factory.mktemp("hard") / "comparison"
    shutil.copytree(finished, out)
    plan = json.loads((out / "plan.json").read_text().replace("low-rank", LONG))
    refused = {"label": "gaussian + posterior"}
    refused |= {"skipped": "coupling 'posterior': no latents", "runs": []}
    plan["variants"].append({**plan["variants"][0], **refused})
    (out / "plan.json").write_text(json.dumps(plan))
    cells = plan["variants"][3]["runs"]
    for cell in cells:
        folder = out / "cells" / cell["name"]
        (folder / f"result-{cell['key']}.json").unlink()
    failure = out / "cells" / cells[0]["name"] / f"failure-{cells[0]['key']}.txt"
    failure.write_text("the loss is not finite at step 7\nand its trace")
    write_report(out)
    return out / "report.html"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = browser.start(tmp_path_factory.mktemp("profile"))
    yield found
    found.quit()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_whole_at_every_width(driver: Any, hard: Path, width: int) -> None:
    """Nothing reaches beyond the page, links lead to headings, and images are loaded and fill their cards."""
    browser.show(driver, hard, width, "light")
    run = driver.execute_script
    assert run("return [document.documentElement.scrollWidth <= innerWidth, innerWidth]") == [True, width]
    assert run(BEYOND_THE_PAGE) == []
    room = run(ROOM_BESIDE_THE_FIGURE)
    assert len(room) >= 6 + 12
    assert all(abs(left) <= 3 for left, _ in room), room
    headings = run(
        "return [...document.querySelectorAll('h1, h2')].map(h => [h.textContent, h.offsetHeight])"
    )
    assert [text for text, _ in headings] == ["Priors and couplings on digits", *HEADINGS]
    assert all(height > 20 for _, height in headings)
    links = "return [...document.querySelectorAll('nav a')].map(a => document.querySelector(a.hash) !== null)"
    assert run(links) == [True] * len(HEADINGS)
    images = run(
        "return [...document.querySelectorAll('.gallery img')]"
        ".map(i => [i.complete, i.naturalWidth > 100, i.offsetWidth > 100, i.alt !== ''])"
    )
    assert images == [[True] * 4] * (3 * 4)  # NFE; three variants with a result and the real data
    text = run("return document.getElementById('left-out').innerText")
    assert all(part in text for part in ("the loss is not finite at step 7", "no latents", "not run yet"))
    alerts = run("return document.querySelector('.alerts').innerText")
    assert "1 run failed" in alerts
    assert "1 run has not been made yet" in alerts


def test_a_table_that_is_wider_than_its_card_says_so_until_its_end_is_seen(driver, hard):
    browser.show(driver, hard, 390, "light")
    wide, hidden = driver.execute_async_script(HINTS)
    assert wide
    assert all(said == (beyond > 0) for said, beyond in wide)
    assert any(said for said, _ in wide)
    assert hidden


def test_nothing_is_fetched_and_the_console_is_silent(driver, hard):
    driver.get_log("browser")
    browser.show(driver, hard, 1280, "light")
    fetched = driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    assert driver.get_log("browser") == []
