"""A headless Chromium that reaches no other machine, for tests of what a page does."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

from checks import need, need_packages


@contextlib.contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """Yield a driver of selenium; skip, or fail in CI, without the browser or its driver."""
    need_packages("selenium")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    need(binary is not None, "chromium")
    need(driver is not None, "chromedriver (Debian: chromium-driver)")

    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *arguments,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options, Service(driver))
    try:
        yield session
    finally:
        session.quit()


def requested(driver: Any) -> list[str]:
    """Return the addresses that the pages have asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
