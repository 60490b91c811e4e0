"""A headless Chromium for tests of pages: import `chromium` and `browser` into the conftest.py that needs them.

`browser(width)` gives the one Chromium of the session at that width, its logs cleared:

    page = browser(1400)
    page.open(file.as_uri())
    page.hover(page.find(".cell"))
    assert page.errors() == [] and page.requests_outside(file.as_uri()) == [] and page.overflow() == []
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.io import imread

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing outside is reached
)
MINUTE = 60
"""Seconds that anything in a page may take: a busy machine is no failure."""
_BOX = """
    arguments[0].scrollIntoView({block: "center", behavior: "instant"});
    const box = arguments[0].getBoundingClientRect();
    return {x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height};
"""
_WITHIN = ("data:", "blob:", "about:", "chrome:", "chrome-")


class Browser:
    """A page of a given width in CSS pixels, and what it complained of and asked for since it was opened."""

    def __init__(self, driver: Any, width: int, height: int, dark: bool) -> None:
        self.driver, self.width = driver, width
        self.driver.get("about:blank")
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", screen)  # windows are not narrower than 500 pixels
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", {"media": "", "features": scheme})
        for log in ("browser", "performance"):
            self.driver.get_log(log)  # reading a log empties it
        self._requested: list[str] = []

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.driver.get(url)

    def command(self, name: str, arguments: dict[str, Any]) -> Any:
        """One command of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript function body returns; "return await ..." is waited for."""
        return self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"(async function () {{ {script} }}).apply(null, [...arguments].slice(0, -1))"
            ".then(done, (error) => done({ failed: String(error) }));",
            *arguments,
        )

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector; fails where there is none."""
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        """All elements of a CSS selector."""
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true; fails after a minute."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, MINUTE, 0.1).until(
            lambda driver: driver.execute_script(f"return Boolean({condition})"), f"not within {MINUTE} s: {condition}"
        )

    def hover(self, element: Any, x: float = 0.5, y: float = 0.5) -> None:
        """Move the pointer to a place in an element, given as shares of its width and height."""
        script = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'});"
        box = self.driver.execute_script(script + "return arguments[0].getBoundingClientRect().toJSON()", element)
        left, top = box["x"] + x * box["width"], box["y"] + y * box["height"]
        for step in (2, 0):  # some pages wait for a movement
            place = {"type": "mouseMoved", "x": left - step, "y": top - step}
            self.command("Input.dispatchMouseEvent", place)

    def errors(self) -> list[str]:
        """Errors and warnings in the console since the last call; a browser's hint at a missing icon is none."""
        entries = self.driver.get_log("browser")
        return [e["message"] for e in entries if e["level"] != "INFO" and "favicon.ico" not in e["message"]]

    def requests_outside(self, *allowed: str) -> list[str]:
        """The addresses that were asked for since the page was made, but those that begin with one of `allowed`."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._requested.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self._requested.append(message["params"]["url"])
        return [url for url in self._requested if not url.startswith((*_WITHIN, *allowed))]

    def overflow(self) -> list[str]:
        """The elements that make the page wider than the window; [] where it does not scroll sideways."""
        script = """
            const wide = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= wide) return [];
            const scrolls = (e) => e && (getComputedStyle(e).overflowX !== "visible" || scrolls(e.parentElement));
            return [...document.body.querySelectorAll("*")]
                .filter((e) => e.getBoundingClientRect().right > wide + 0.5 && !scrolls(e.parentElement))
                .map((e) => e.tagName + "." + e.getAttribute("class") + " " + e.getBoundingClientRect().right)
        """
        found: list[str] = self.driver.execute_script(script)
        wide = self.driver.execute_script("return document.documentElement.scrollWidth")
        return found or ([f"the page is {wide} pixels wide"] if wide > self.width else [])

    def screenshot(self, file: Path, selector: str | None = None, whole: bool = False) -> np.ndarray:
        """Keep a PNG of the window, of the whole page or of an element; (H, W, 3) uint8."""
        from base64 import b64decode

        options: dict[str, Any] = {}
        if selector:
            box = self.driver.execute_script(_BOX, self.find(selector))
            options = {"clip": box | {"scale": 1}}
        elif whole:
            size = self.command("Page.getLayoutMetrics", {})["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": self.width, "height": size["height"], "scale": 1}
            options = {"captureBeyondViewport": True, "clip": clip}
        # selenium's own screenshots give up after 10 s
        file.write_bytes(b64decode(self.command("Page.captureScreenshot", options)["data"]))
        return np.asarray(imread(file))[..., :3]


def shows(picture: np.ndarray, colour: str, tolerance: int = 3) -> int:
    """How many pixels of a screenshot, (H, W, 3) uint8, have the colour "#rrggbb"."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(picture.astype(int) - wanted).max(axis=-1) <= tolerance).sum())


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A selenium driver of a headless Chromium; tests that need it are skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver_program = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not program or not driver_program:
        pytest.skip("no chromium and chromedriver on the path (Debian: apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_program))
    driver.set_script_timeout(MINUTE)
    driver.set_page_load_timeout(MINUTE)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Callable[..., Browser]:
    """Gives the Chromium of the session at a width in pixels, without what earlier tests left in its logs."""

    def at(width: int, *, height: int = 900, dark: bool = False) -> Browser:
        return Browser(chromium, width, height, dark)

    return at
