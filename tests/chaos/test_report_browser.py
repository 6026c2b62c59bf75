"""Pages in a real browser: they open, draw, answer to the pointer, and never complain."""

from __future__ import annotations

import base64
import shutil
from typing import TYPE_CHECKING

import pytest
from chaos.browser import Browser, browser
from chaos.report_runs import FAULTS, Story, keep_run
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from quorumlog.chaos import outcome
from quorumlog.chaos.outcome import RunRecord
from quorumlog.chaos.report import write_run_report
from quorumlog.chaos.reporting import write_reports

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

__all__ = ["browser"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def false_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("false")
    keep_run(directory, Story(lose=400, fork=True).events)
    return write_run_report(directory)


def point_at(browser: Browser, element: WebElement) -> None:
    browser.ask("arguments[0].scrollIntoView({block: 'center'})", element)
    ActionChains(browser.driver).move_to_element(element).perform()


def test_a_page_opens_and_draws_every_row_without_a_word_on_the_console(browser: Browser, false_page: Path) -> None:
    browser.console()
    browser.open(false_page)
    assert browser.console() == []
    assert browser.marks("faults") == len(FAULTS)
    for row in (
        "operations a second",
        "latency of each operation, where it began",
        "somebody waited and nobody was served",
        "unseen: acknowledged, not yet read",
        "what the nodes said",
    ):
        assert browser.marks(row) > 0, row
    assert browser.marks("latency of each operation, where it began") > 150
    assert browser.ask("return document.querySelectorAll('#figure .shapelayer path').length") >= len(FAULTS)


def test_it_asks_nobody_for_anything(browser: Browser, false_page: Path) -> None:
    browser.open(false_page)
    assert browser.ask("return performance.getEntriesByType('resource').map(one => one.name)") == []


def test_the_verdict_is_the_first_table_and_on_the_first_screen(browser: Browser, false_page: Path) -> None:
    browser.open(false_page)
    table = browser.driver.find_element(By.TAG_NAME, "table")
    assert "verdict" in table.text
    assert "false" in table.text
    assert browser.ask("return arguments[0].getBoundingClientRect().top < 300", table)


def test_outcomes_differ_in_shape_and_not_only_in_colour(browser: Browser, false_page: Path) -> None:
    browser.open(false_page)
    shapes = browser.ask(
        "return Object.fromEntries(document.getElementById('figure')._fullData"
        ".filter(one => one.meta && one.meta.points).map(one => [one.name, one.marker.symbol]))"
    )
    assert shapes == {"ok": "circle", "unknown": "diamond", "failed": "x"}


def test_a_witness_tells_of_itself_when_pointed_at_or_reached_by_keyboard(
    browser: Browser, false_page: Path
) -> None:
    browser.open(false_page)
    tip = browser.driver.find_element(By.ID, "tip")
    assert not tip.is_displayed()
    witness = browser.driver.find_element(By.CSS_SELECTOR, ".lanes .witness")
    point_at(browser, witness.find_element(By.TAG_NAME, "rect"))
    assert tip.is_displayed()
    assert "by process" in tip.text
    assert "ok after" in tip.text
    point_at(browser, browser.driver.find_element(By.TAG_NAME, "h1"))
    assert not tip.is_displayed()
    browser.ask("arguments[0].focus()", witness)
    assert tip.is_displayed()


def test_every_finding_that_has_a_witness_has_its_timeline(browser: Browser, false_page: Path) -> None:
    browser.open(false_page)
    findings = browser.driver.find_elements(By.CSS_SELECTOR, "#findings .finding")
    assert findings
    for finding in findings:
        bars = finding.find_elements(By.CSS_SELECTOR, ".lanes .witness rect")
        legend = finding.find_elements(By.CSS_SELECTOR, ".legend li")
        assert len(bars) == len(legend) > 0
        assert all(bar.size["width"] >= 2 for bar in bars)


def test_a_mark_of_the_figure_tells_of_itself(browser: Browser, false_page: Path) -> None:
    browser.open(false_page)
    # The first send after the kill, of which nobody knows what became.
    point = browser.driver.find_element(By.CSS_SELECTOR, "#figure .scatterlayer .trace:nth-child(2) .point")
    point_at(browser, point)
    browser.wait("return document.querySelectorAll('#figure .hoverlayer .hovertext').length")
    said = browser.ask("return document.querySelector('#figure .hoverlayer').textContent")
    assert "send lines/0" in said
    assert "lost the leader" in said


def test_one_operation_alone_can_be_chosen_and_all_come_back(browser: Browser, false_page: Path) -> None:
    browser.open(false_page)
    row = "latency of each operation, where it began"
    everything = browser.marks(row)
    chips = {chip.text: chip for chip in browser.driver.find_elements(By.CSS_SELECTOR, ".chips button")}
    chips["commit"].click()
    browser.wait(f"return document.getElementById('figure')._fullData[{_first_points(browser)}].x.length < 30")
    assert 0 < browser.marks(row) < everything / 2
    chips["all operations"].click()
    browser.wait(f"return document.getElementById('figure')._fullData[{_first_points(browser)}].x.length > 30")
    assert browser.marks(row) == everything
    assert browser.console() == []


def _first_points(browser: Browser) -> int:
    return int(browser.ask("return document.getElementById('figure').data.findIndex(one => one.meta?.points)"))


def test_night_and_day_change_the_figure_with_the_page(browser: Browser, false_page: Path) -> None:
    ground = "return document.getElementById('figure')._fullLayout.paper_bgcolor"
    browser.open(false_page, dark=True)
    dark = browser.ask(ground)
    browser.emulate(dark=False)
    browser.wait(f"return ({ground.removeprefix('return ')}) !== '{dark}'")
    assert browser.ask(ground) == "#ffffff"


def test_on_paper_it_is_light_and_fits_even_at_night(browser: Browser, false_page: Path) -> None:
    browser.open(false_page, dark=True)
    browser.ask(
        "addEventListener('beforeprint', () => {"
        " const layout = document.getElementById('figure').layout;"
        " window.printed = [layout.paper_bgcolor, layout.width]; })"
    )
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    assert browser.ask("return window.printed") == ["#ffffff", 700]
    # And afterwards it is as before.
    browser.wait("return document.getElementById('figure').layout.paper_bgcolor !== '#ffffff'")


def test_a_telephone_scrolls_down_and_never_sideways(browser: Browser, false_page: Path) -> None:
    browser.open(false_page, width=360)
    assert browser.ask("return document.documentElement.scrollWidth") <= 360
    assert browser.ask("return document.getElementById('figure').getBoundingClientRect().width") <= 360
    assert browser.marks("faults") == len(FAULTS)


def test_a_finger_on_the_figure_scrolls_the_page(browser: Browser, false_page: Path) -> None:
    command = browser.driver.execute_cdp_cmd
    command("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        browser.open(false_page, width=361)
        browser.ask("document.getElementById('figure').scrollIntoView()")
        before = browser.ask("return scrollY")
        command("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 200, "y": 500}]})
        for y in range(480, 180, -20):
            command("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": 200, "y": y}]})
        command("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        browser.wait(f"return scrollY > {before} + 100")
    finally:
        command("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_a_command_is_copied_or_at_least_selected(browser: Browser, false_page: Path) -> None:
    browser.open(false_page)
    button = browser.driver.find_element(By.CSS_SELECTOR, ".copy")
    point_at(browser, button)
    button.click()
    browser.wait("return ['copied', 'selected'].includes(document.querySelector('.copy').textContent)")
    assert browser.console() == []


def test_a_run_without_a_history_opens_as_quietly(browser: Browser, tmp_path: Path) -> None:
    outcome.save(tmp_path, RunRecord("cut", "…", "netns", "raft", 3, 1, skipped="cut: not root"))
    browser.open(write_run_report(tmp_path))
    assert "cut: not root" in browser.driver.find_element(By.TAG_NAME, "table").text
    assert browser.console() == []


def test_a_suite_leads_to_its_runs_and_shows_one_verdict_alone(browser: Browser, tmp_path: Path) -> None:
    keep_run(tmp_path / "good", Story().events, scenario="good")
    keep_run(tmp_path / "bad", Story(lose=400).events, scenario="bad")
    shutil.copytree(tmp_path / "good", tmp_path / "also good")
    index = write_reports(tmp_path)
    browser.open(index)
    assert browser.console() == []
    rows = browser.driver.find_elements(By.CSS_SELECTOR, "tr[data-verdict]")
    assert [row.is_displayed() for row in rows] == [True, True, True]
    next(
        chip for chip in browser.driver.find_elements(By.CSS_SELECTOR, ".chips button") if "false" in chip.text
    ).click()
    assert [row.is_displayed() for row in rows] == [True, False, False]
    browser.driver.find_element(By.LINK_TEXT, "bad").click()
    browser.wait("const f = document.getElementById('figure'); return f && f.dataset.drawn === 'yes'")
    assert browser.driver.title.startswith("false · bad")
    assert browser.console() == []
