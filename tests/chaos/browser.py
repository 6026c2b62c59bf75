"""A real browser without a window, for the tests of pages; where there is none they are skipped and say so."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE_S = 90.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")
#: No sandbox: tests run as root in containers. The rest keeps it from talking to anybody.
_SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1200,900"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"),
)


class Browser:
    """One browser; every page is opened in the same window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._shown: tuple[Path, bool, int] | None = None

    def open(self, page: Path, *, dark: bool = False, width: int = 1200) -> None:
        """Opens the page, unless it is open just so, and waits until its figure, if it has one, is drawn."""
        if self._shown == (page, dark, width):
            return
        self.emulate(dark=dark)
        self._shown = (page, dark, width)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(page.resolve().as_uri())
        self.wait("const f = document.getElementById('figure'); return !f || f.dataset.drawn === 'yes'")

    def emulate(self, *, dark: bool) -> None:
        self._shown = None
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def ask(self, script: str, *arguments: Any) -> Any:
        """What a piece of JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        """Until it returns something true. Fails the test with what the console says if it never does."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.ask(script):
            if time.monotonic() > deadline:
                pytest.fail(f"never true: {script}; the console says {self.console()}")
            time.sleep(0.02)

    def console(self) -> list[str]:
        """What was said on the console since the last time, errors and all else."""
        return [str(line["message"]) for line in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def marks(self, row: str) -> int:
        """How many marks the figure shows in the row with this title: bars, points, or a line."""
        return int(self.ask(_MARKS, row))


#: Rows have no name of their own in plotly.js: the heading says which axis lies right below it.
_MARKS = """
const figure = document.getElementById('figure'), layout = figure._fullLayout;
const heading = layout.annotations.find(one => one.text === '<b>' + arguments[0] + '</b>');
if (!heading) return 0;
const axes = Object.keys(layout).filter(name => name.startsWith('yaxis'));
const axis = axes.find(name => Math.abs(layout[name].domain[1] - heading.y) < 1e-6);
const plot = figure.querySelector('.subplot.x' + axis.replace('axis', ''));
return plot.querySelectorAll('.point path, path.point, path.js-line').length;
"""


def chromium() -> str | None:
    """Where the browser is, if it and its driver are installed."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return found if shutil.which("chromedriver") else None


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path, driver_path = chromium(), shutil.which("chromedriver")
    if path is None or driver_path is None:
        pytest.skip("no chromium with its chromedriver here; .ci/browser installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = path
    for switch in (*_SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
    except WebDriverException as error:
        pytest.skip(f"chromium does not start here: {error.msg}")
    try:
        yield Browser(driver)
    finally:
        driver.quit()
