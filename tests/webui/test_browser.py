"""The LLM page in a real browser, on a real Locust and the simulator, behind a login and a base path."""

from __future__ import annotations

import csv
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.simulator_process import Simulator, running_simulator
from tests.webui.web_process import WebProcess, running_locust

pytestmark = pytest.mark.browser

BASE = "/load"
PATIENCE_S = 40
PICTURES = os.environ.get("TOKENSWARM_PICTURES")
"""A directory for the pictures of the documentation; by default none are taken."""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def locust(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    arguments = ["--web-login", "--context-tokens", "100", "--max-tokens", "20", "-u", "20", "-r", "20"]
    arguments += ["--failure-criteria", "p95(ttft_ms) > 5000;percentage(error) > 1", "--quota-tpm", "60000"]
    directory = tmp_path_factory.mktemp("locust")
    with running_locust(
        directory, simulator.chat_url, *arguments, base=BASE, file="tests/webui/login_locustfile.py"
    ) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def test_a_run_from_start_to_report_and_again(
    browser: webdriver.Chrome, locust: WebProcess, simulator: Simulator
) -> None:
    log_in(browser, locust)
    assert text(browser, "state") == "ready"

    # A mistake in the form: a message in the page, nothing started.
    fill(browser, rate="quick", max_tokens="many")
    press(browser, "#start-form button")
    await_(browser, lambda: "rate: expected" in text(browser, "start-problems"))
    assert "max-tokens: expected" in text(browser, "start-problems")
    assert text(browser, "state") == "ready"

    fill(browser, rate="120", max_tokens="20", test_name="page")
    press(browser, "#start-form button")
    await_(browser, lambda: tile(browser, "Requests per minute") not in ("", "–", "0"))

    # Another rate while it runs: its field holds what was asked for, more arrives at the target.
    await_(browser, lambda: element(browser, "rate").get_attribute("value") == "120")
    set_value(element(browser, "rate"), "1200")
    press(browser, "#rate-form button")
    await_(browser, lambda: "Holds from" in text(browser, "rate-said"))
    await_(browser, lambda: int(tile(browser, "Spent in this run", "more").split("requests")[0].split(";")[1]) >= 60)
    assert live(browser)["run"]["rate"]["rpm"] == 1200
    picture(browser, "live-page")
    picture(browser, "live-page-dark", dark=True)
    picture(browser, "live-page-phone", width=390)
    assert width_of_page(browser) <= 390, "a phone must not need to scroll sideways"
    picture(browser, None)

    press(browser, "#stop")
    await_(browser, lambda: "report.html" in text(browser, "run-list"))
    check_against_truth(browser, simulator)
    assert text(browser, "verdict").startswith("Verdict: ")

    link = browser.find_element(By.LINK_TEXT, "report.html").get_attribute("href")
    browser.get(str(link))
    assert "page" in browser.page_source and "TTFT" in browser.page_source
    browser.back()

    # And again: a run of its own, the first one still there.
    await_(browser, lambda: text(browser, "state").startswith("stopped"))
    await_(browser, lambda: bool(browser.find_elements(By.ID, "field-rate")))
    press(browser, "#start-form button")
    await_(browser, lambda: text(browser, "state").startswith("running"))
    await_(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#run-list li")) == 2)
    press(browser, "#stop")
    await_(browser, lambda: text(browser, "state").startswith("stopped"))
    assert errors(browser) == []


def test_locusts_own_page_has_the_tab_and_the_way_to_ours(browser: webdriver.Chrome, locust: WebProcess) -> None:
    log_in(browser, locust)
    browser.get(f"{locust.url}/?tab=llm")
    await_(browser, lambda: "TTFT p50, p95, p99" in browser.page_source)
    picture(browser, "locust-tab")
    press(browser, "nav[aria-label=Tokenswarm] a")
    assert browser.current_url == f"{locust.url}/llm"
    assert errors(browser) == []


def test_a_scenario_fills_the_form(browser: webdriver.Chrome, locust: WebProcess) -> None:
    log_in(browser, locust)
    await_(browser, lambda: bool(browser.find_elements(By.CSS_SELECTOR, "#scenario option")))
    browser.execute_script("document.getElementById('scenario').value = 'smoke.conf'")
    press(browser, "#scenario-form button")
    await_(browser, lambda: "smoke.conf" in text(browser, "scenario-said"))
    assert value(browser, "max_tokens") == "50"
    assert value(browser, "user_count") == "2"
    assert value(browser, "rate") == "", "what the scenario does not say is not kept from before"
    assert "stop-timeout" in text(browser, "scenario-said")
    picture(browser, "start-form")


def test_everything_can_be_reached_and_read(browser: webdriver.Chrome, locust: WebProcess) -> None:
    log_in(browser, locust)
    await_(browser, lambda: bool(browser.find_elements(By.ID, "field-rate")))
    unnamed = browser.execute_script(
        "return [...document.querySelectorAll('input, select, button, a')].filter(each => "
        "!(each.labels?.length || each.textContent.trim() || each.getAttribute('aria-label'))).map(each => each.id)"
    )
    assert unnamed == []
    reached = set()
    for _ in range(12):
        browser.switch_to.active_element.send_keys("\ue004")
        reached.add(browser.execute_script("return document.activeElement.textContent.trim()"))
    assert {"Skip to the figures", "Locust", "Start", "Runs"} <= reached
    for dark in (False, True):
        emulate(browser, dark=dark)
        assert browser.execute_script(CONTRASTS) == []
    emulate(browser)


CONTRASTS = """
const shine = (text) => { const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (each) => { for (let at = each; at; at = at.parentElement) {
  const c = getComputedStyle(at).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; }
  return 'rgb(255, 255, 255)'; };
return [...document.querySelectorAll('h1,h2,p,dt,dd,a,label,summary,th,td,button,span,figcaption')].filter(each =>
  each.offsetParent && each.textContent.trim()).map(each => { const [a, b] = [shine(getComputedStyle(each).color),
  shine(behind(each))].sort((x, y) => y - x); return [(a + 0.05) / (b + 0.05), each.textContent.trim().slice(0, 30)];
}).filter(([ratio]) => ratio < 4.5);
"""


def check_against_truth(browser: webdriver.Chrome, simulator: Simulator) -> None:
    """What the page shows of the run equals what the target saw, but for requests at the window's edges."""
    run = live(browser)["run"]
    truth = [row for row in simulator.truth() if row["received_at"] >= run["started_at"] and row["outcome"] == "ok"]
    end = float(int(run["ended_at"]))
    ended = [row for row in truth if row["finished_at"] < end]
    edge = [row for row in truth if abs(row["finished_at"] - end) < 0.25]
    seconds = end - run["started_at"]
    assert seconds < 60, "the window holds the whole run"
    shown = number(tile(browser, "Requests per minute"))
    assert shown == pytest.approx(len(ended) * 60 / seconds, abs=(len(edge) + 0.5) * 60 / seconds)
    tokens = sum(row["prompt_tokens"] + row["completion_tokens"] for row in ended)
    of_edge = sum(row["prompt_tokens"] + row["completion_tokens"] for row in edge)
    assert number(tile(browser, "Tokens per minute")) == pytest.approx(
        tokens * 60 / seconds, abs=of_edge * 60 / seconds + 1
    )
    shown_median = number(tile(browser, "TTFT p50 / p95 / p99, ms").split(" / ")[0])
    median_ms = median_ttft(Path(run["directory"]), end)
    assert shown_median == pytest.approx(median_ms, abs=0.006 * median_ms + 0.5)  # the histogram's step, then rounding
    seen = sorted((row["first_token_at"] - row["received_at"]) * 1000 for row in ended)
    assert shown_median >= seen[len(seen) // 2] * 0.99 - 1, "a client cannot see a token before it was sent"


def median_ttft(directory: Path, end: float) -> float:
    """Of the answers in requests.csv that ended before Unix s `end`."""
    with (directory / "requests.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] == "ok"]
    return statistics.median(
        float(row["ttft_ms"]) for row in rows if float(row["started_at"]) + float(row["e2e_ms"]) / 1000 < end
    )


def log_in(browser: webdriver.Chrome, locust: WebProcess) -> None:
    browser.get(f"{locust.url}/llm")
    if "/login" in browser.current_url:
        await_(browser, lambda: bool(browser.find_elements(By.NAME, "username")))
        browser.find_element(By.NAME, "username").send_keys("tester")
        browser.find_element(By.NAME, "password").send_keys("secret")
        browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    await_(browser, lambda: browser.current_url == f"{locust.url}/llm")
    await_(browser, lambda: bool(browser.find_elements(By.ID, "field-rate")))
    await_(browser, lambda: text(browser, "state") != "Waiting for data")


def await_(browser: webdriver.Chrome, condition: Callable[[], bool]) -> None:
    WebDriverWait(browser, PATIENCE_S, poll_frequency=0.1).until(lambda _: condition())


def element(browser: webdriver.Chrome, name: str) -> WebElement:
    return browser.find_element(By.ID, name)


def text(browser: webdriver.Chrome, name: str) -> str:
    return str(browser.execute_script("return document.getElementById(arguments[0])?.textContent.trim() ?? ''", name))


def value(browser: webdriver.Chrome, field: str) -> str:
    return str(element(browser, f"field-{field}").get_attribute("value"))


def tile(browser: webdriver.Chrome, title: str, part: str = "main") -> str:
    return str(
        browser.execute_script(
            "const dt = [...document.querySelectorAll('#tiles dt')].find(each => each.textContent === arguments[0]);"
            "return dt?.parentElement.querySelector('dd.' + arguments[1])?.textContent ?? ''",
            title,
            part,
        )
    )


def number(shown: str) -> float:
    return float(shown.replace(",", ""))


def set_value(field: WebElement, content: str) -> None:
    field.send_keys("\ue009a\ue000", content)  # Control-A, then the new text over it


def fill(browser: webdriver.Chrome, **fields: str) -> None:
    for name, content in fields.items():
        script = "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        browser.execute_script(script, f"field-{name}", content)


def press(browser: webdriver.Chrome, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def live(browser: webdriver.Chrome) -> dict[str, Any]:
    script = "const done = arguments[0]; fetch('./llm/live').then(each => each.text()).then(done)"
    answer: dict[str, Any] = json.loads(browser.execute_async_script(script))
    return answer


def emulate(browser: webdriver.Chrome, width: int = 1280, height: int = 900, dark: bool = False) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


def width_of_page(browser: webdriver.Chrome) -> int:
    return int(browser.execute_script("return document.documentElement.scrollWidth"))


def picture(browser: webdriver.Chrome, name: str | None, width: int = 1280, dark: bool = False) -> None:
    """The page as it is looked at; a file of it where pictures are wanted."""
    where = "document.getElementById('start').offsetTop" if name == "start-form" else "0"
    browser.execute_script(f"scrollTo(0, {where})")
    emulate(browser, width, 1500 if width == 1280 else 1700, dark)
    if PICTURES and name:
        time.sleep(2.5)  # charts take the new width at the next poll
        browser.save_screenshot(str(Path(PICTURES) / f"{name}.png"))


def errors(browser: webdriver.Chrome) -> list[str]:
    """What the console holds of pages of ours; the login page's own favicon is none of them."""
    logged = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in logged if entry["level"] in ("SEVERE", "WARNING")]
