"""The page in a real browser, at a phone's width: a caption goes in, pictures come out, nothing leaks.

Whatever the browser asks of others than loopback goes to a port where nobody listens, and its log is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from flowprior.extensions.demo.answer import fields_of
from flowprior.extensions.demo.command import check_extra
from flowprior.flow import Flow
from tests.report import browser

pytestmark = pytest.mark.slow

WIDTH = 390
LOOPBACK = {"127.0.0.1", "localhost"}
NOWHERE = "--proxy-server=http://127.0.0.1:9"
"""The browser asks its maker for updates, which fails, too, but is none of the page's requests."""
PATIENCE = 120.0
"""Seconds, for machines that are busy with other tests."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("gradio", reason="the test extra is not installed")
    found = browser.start(tmp_path_factory.mktemp("profile"), NOWHERE)
    metrics = {"width": WIDTH, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield found
    found.quit()


@pytest.fixture(scope="module")
def address(caption_flow: Flow, driver: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page of the flow of captions is served, as ``flowprior demo`` serves it."""
    import uvicorn

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        check_extra()
        from flowprior.extensions.demo.page import build_page
        from flowprior.extensions.demo.serving import application, listening

        app = application(build_page(caption_flow, "runs/colours", fields_of(caption_flow)), ["127.0.0.1"])
        with listening("127.0.0.1", 0) as found:
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [found]}, daemon=True)
            thread.start()
            yield f"http://127.0.0.1:{found.getsockname()[1]}/"
            server.should_exit = True
            thread.join(PATIENCE)


@pytest.fixture(scope="module")
def page(driver: Any, address: str) -> Any:
    """The page, after a caption was typed and the button pressed."""
    driver.get(address)
    box = wait(lambda: driver.find_elements("css selector", "[id='field-'] textarea"))[0]
    box.send_keys("a sleepy red cat")
    driver.find_element("id", "draw").click()
    wait(lambda: len(pictures(driver)) == 4)
    return driver


def wait(look: Callable[[], Any]) -> Any:
    """What ``look`` gives once it is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it never came")


def pictures(driver: Any) -> list[dict[str, Any]]:
    """The pictures that have arrived."""
    script = """return [...document.querySelectorAll('.picture img')]
      .filter(i => i.complete && i.naturalWidth).map(i => ({alt: i.alt, width: i.naturalWidth,
      height: i.naturalHeight, shown: i.getBoundingClientRect().width}))"""
    return driver.execute_script(script)


def test_a_caption_becomes_four_labelled_pictures(page: Any) -> None:
    found = pictures(page)
    names = [picture["alt"].split(",")[0] for picture in found]
    assert names == ["Prior mean", "Prior samples", "Trajectory", "Result"]
    assert all(picture["width"] >= 48 and picture["shown"] >= 48 for picture in found)
    mean, samples, trajectory, _ = found
    assert samples["width"] > 3 * mean["width"] - 48, "four samples beside each other, one mean"
    assert trajectory["height"] > 4 * samples["height"], "six times, one below the other"
    headings = page.execute_script("return [...document.querySelectorAll('h2')].map(h => h.innerText)")
    assert [heading.split(",")[0] for heading in headings] == names


def test_nothing_is_asked_of_any_other_machine(page: Any) -> None:
    fetched = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert len(fetched) > 10, "scripts, styles and pictures of the page itself"
    assert {urlsplit(url).hostname for url in fetched if url.startswith("http")} <= LOOPBACK
    links = page.execute_script("return [...document.querySelectorAll('link')].map(link => link.href)")
    assert {urlsplit(link).hostname for link in links if link} <= LOOPBACK, "no connection is opened early"
    console = [entry["message"] for entry in page.get_log("browser")]
    assert [line for line in console if "Content Security" in line] == [], "nothing was even tried"


def test_a_mistake_is_said_on_the_page(page: Any) -> None:
    before = page.find_element("id", "notes").text
    box = page.find_element("css selector", "[id='field-'] textarea")
    page.execute_script(
        "arguments[0].value = 'x'.repeat(10001);"
        "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
        box,
    )
    page.find_element("id", "draw").click()
    wait(lambda: "at most 10,000 characters" in page.find_element("tag name", "body").text)
    assert before in page.find_element("id", "notes").text, "what was drawn before stays"
