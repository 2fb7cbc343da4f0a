"""The built site in a browser: pages fit a phone, formulas are typeset, links lead somewhere.

The environment variable ADAGRAD_SITE names the folder of the site, which this process serves. A
page that asks another host for anything is at fault.
"""

from __future__ import annotations

import ast
import functools
import http.server
import importlib.util
import json
import os
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

from browser import chromium, requested
from checks import need_packages

if "ADAGRAD_SITE" not in os.environ:
    pytest.skip("ADAGRAD_SITE does not name a built site", allow_module_level=True)
need_packages("selenium")

from selenium.webdriver.support.wait import WebDriverWait

SITE = Path(os.environ["ADAGRAD_SITE"]).resolve()
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if "_static" not in path.relative_to(SITE).parts
)
PHONE, DESKTOP = 360, 1280
LOOK = Path(__file__).with_name("look.js").read_text(encoding="utf-8")
pytestmark = [pytest.mark.unsanitized, pytest.mark.xdist_group("site")]


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def origin():
    """The address of a server of the site."""
    handler = functools.partial(Handler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with chromium() as driver:
        driver.set_script_timeout(30)
        yield driver


def resize(browser, width):
    # A window is never narrower than 500 pixels, but the screen of an emulated device is.
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def requests(browser):
    """The addresses on the web that the browser has asked for since the last call."""
    return [url for url in requested(browser) if url.startswith(("http:", "https:"))]


@pytest.mark.parametrize("page", PAGES)
def test_page(browser, origin, page):
    requests(browser)
    browser.get_log("browser")
    faults = {}
    for width in (PHONE, DESKTOP):
        resize(browser, width)
        if width == PHONE:
            browser.get(f"{origin}/{page}")
        for fault, where in browser.execute_async_script(LOOK).items():
            faults[f"{fault} at {width} px"] = where
    faults["console"] = [entry["message"] for entry in browser.get_log("browser")]
    faults["other hosts"] = [url for url in requests(browser) if not url.startswith(origin)]
    assert {fault: where for fault, where in faults.items() if where} == {}


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("d2l", "textbook/index.html"),
        ("Vowpal Wabbit", "recipes.html"),
        ("libffm", "recipes.html"),
        ("scikit-learn", "recipes.html"),
        ("fbgemm", "embedding-bags.html"),
        ("embedding", "embedding-bags.html"),
        ("FTRL", "click-logs.html"),
        ("calibration", "recipes.html"),
        ("half-life", "commands/train.html"),
        ("preconditioning", "textbook/chapter/3_preconditioning.html"),
    ],
)
def test_search(browser, origin, words, page):
    resize(browser, DESKTOP)
    browser.get(f"{origin}/search.html?q={words.replace(' ', '+')}")
    links = "return [...document.querySelectorAll('#search-results li a')].map(a => a.href)"

    def is_found(driver):  # results are shown one after the other
        return any(url.startswith(f"{origin}/{page}") for url in driver.execute_script(links)[:7])

    WebDriverWait(browser, 10).until(is_found)
    assert all(url.startswith(origin) for url in browser.execute_script(links))


class Page(HTMLParser):
    """The anchors of a page, and the addresses that it refers to."""

    def __init__(self, name):
        super().__init__()
        self.anchors, self.addresses = {""}, set()
        self.feed((SITE / name).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.addresses.add(value)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("api/")])
def test_reference(page):
    home = Path(page).stem
    name = "adagrad" if home == "adagrad" else f"adagrad.{home}"
    source = Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8")
    names = ast.literal_eval(re.search(r"^__all__ = (\[.*?\])", source, re.M | re.S)[1])
    shown = {f"{name}.{entry}" for entry in names if entry != "__version__"}
    assert shown
    assert shown <= Page(page).anchors


def test_links():
    pages = {name: Page(name) for name in PAGES}
    broken = []
    for name, page in pages.items():
        for address in page.addresses:
            target, anchor = urldefrag(urljoin(name, address))
            path = unquote(urlsplit(target).path)
            if urlsplit(target).scheme:
                continue
            if path in pages:
                exists = unquote(anchor) in pages[path].anchors
            else:
                exists = (SITE / path).is_file()
            if not exists:
                broken.append(f"{name}: {address}")
    assert broken == []
    assert sum(len(page.addresses) for page in pages.values()) > 100


def test_every_page_of_the_textbook_offers_its_notebook():
    pages = [
        name for name in PAGES if name.startswith("textbook/") and Path(name).stem[0].isdigit()
    ]
    assert len(pages) >= 11
    for name in pages:
        notebook = f"{Path(name).stem}.ipynb"
        assert notebook in Page(name).addresses
        cells = json.loads((SITE / name).with_name(notebook).read_text(encoding="utf-8"))["cells"]
        assert "%pip install" in "".join(cells[0]["source"])


def test_the_page_of_the_algorithm_has_the_playground(browser, origin):
    browser.get(f"{origin}/textbook/chapter/4_algorithm.html")
    root = browser.find_element("css selector", "adagrad-playground").shadow_root
    found = root.find_element("css selector", "data.adagrad.x1").get_attribute("value")
    assert f"{float(found):.6f}" == "-2.382563"  # printed in the textbook
