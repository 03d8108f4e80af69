"""The LLM page in a real browser, on a real Locust and the simulator, behind a login and a base path."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.simulator_process import Simulator, running_simulator
from tests.webui.page_states import browse, emulate
from tests.webui.web_process import WebProcess, running_locust

pytestmark = pytest.mark.browser

BASE = "/load"
PATIENCE_S = 40
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
GRAVE = ("serious", "critical")
CRITERIA = "p95(ttft_ms) > 5000; percentage(throttled) > 5; percentage(error) > 1; p95(e2e_ms) > 300"


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def locust(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    arguments = ["--web-login", "--context-tokens", "100", "--max-tokens", "20", "-u", "20", "-r", "20"]
    arguments += ["--quota-tpm", "60000"]
    directory = tmp_path_factory.mktemp("locust")
    with running_locust(
        directory, simulator.chat_url, *arguments, base=BASE, file="tests/webui/login_locustfile.py"
    ) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    driver = browse()
    yield driver
    driver.quit()


def test_a_run_from_start_to_report_and_again(
    browser: webdriver.Chrome, locust: WebProcess, simulator: Simulator
) -> None:
    log_in(browser, locust)
    assert text(browser, "bar") == "" or element(browser, "bar").get_attribute("hidden")
    fill(browser, rate="120", max_tokens="20", test_name="page", failure_criteria=CRITERIA)
    press(browser, "#start-form button")
    await_(browser, lambda: tile(browser, "Requests per minute") not in ("", "–", "0"))
    assert not shown(browser, "start-section"), "while a run is on no other one is offered"
    assert shown(browser, "bar") and text(browser, "bar-phase") == "running"
    assert "until it is stopped" in text(browser, "bar-left")

    # Another rate while it runs: its field holds what was asked for, more arrives at the target.
    await_(browser, lambda: element(browser, "rate").get_attribute("value") == "120")
    set_value(element(browser, "rate"), "1200")
    press(browser, "#rate-form button")
    await_(browser, lambda: "Holds from" in text(browser, "rate-said"))
    await_(browser, lambda: int(tile(browser, "Spent in this run", "more").split("; ")[1].split()[0]) >= 60)
    assert live(browser)["run"]["rate"]["rpm"] == 1200
    assert "1,200 RPM asked for" in text(browser, "bar-rate")

    # What the run would come to, its reason, and the tile that it is about.
    # A busy machine may have saturated the generator: that is said first.
    await_(browser, lambda: text(browser, "verdict") in ("Would fail if it ended now", "Not to be trusted so far"))
    await_(browser, lambda: "p95(e2e_ms) must be at most 300\u00a0ms, is " in text(browser, "verdict-reasons"))
    fails = "FAILS: p95 must be at most 300"
    await_(browser, lambda: tile(browser, "E2E p50 / p95 / p99, ms", "judged").startswith(fails))
    assert tile(browser, "Throttled", "judged").startswith("holds: must be at most 5")
    emulate(browser, 390)
    assert width_of_page(browser) <= 390, "a phone must not need to scroll sideways"
    accessible(browser)
    read_a_chart_by_keyboard(browser)

    press(browser, "#stop")
    await_(browser, lambda: shown(browser, "open-report"))
    check_against_truth(browser, simulator)
    assert text(browser, "verdict") in ("Failed", "Not to be trusted, and failed")
    assert (shown(browser, "bar"), shown(browser, "start-section")) == (False, True)
    curves_do_not_run_backwards(browser)
    accessible(browser)

    report = str(element(browser, "open-report").get_attribute("href"))
    browser.get(report)
    assert "page" in browser.page_source and "TTFT" in browser.page_source
    browser.back()

    # And again, from a page that was opened meanwhile: as before, whatever the form says; then compared.
    await_(browser, lambda: text(browser, "state").startswith("stopped"))
    await_(browser, lambda: bool(browser.find_elements(By.ID, "field-rate")))
    fill(browser, rate="7")
    press(browser, "#run-again")
    await_(browser, lambda: text(browser, "state").startswith("running"))
    assert live(browser)["run"]["rate"]["rpm"] == 120
    await_(browser, lambda: live(browser)["run"]["counts"]["ok"] > 2)
    press(browser, "#stop")
    await_(browser, lambda: shown(browser, "open-report") and shown(browser, "compare"))
    press(browser, "#compare")
    await_(browser, lambda: shown(browser, "open-comparison"))
    keep_what_is_said(browser, "again-said")  # for a moment only
    browser.execute_script("document.getElementById('compare').click()")  # its answer comes after the comparison
    await_(browser, lambda: "Comparing." in browser.execute_script("return window.said"))
    await_(browser, lambda: text(browser, "again-said") == "")
    assert errors(browser) == []


def test_a_mistake_is_told_beside_start_and_at_its_field(browser: webdriver.Chrome, locust: WebProcess) -> None:
    log_in(browser, locust)
    before = text(browser, "state")
    fill(browser, rate="quick", max_tokens="many")
    press(browser, "#start-form button")
    await_(browser, lambda: "rate: expected" in text(browser, "start-problems"))
    assert "max-tokens: expected" in text(browser, "start-problems")
    assert text(browser, "state") == before
    button, box = element(browser, "start-bar").rect, element(browser, "start-problems").rect
    assert abs(button["y"] - box["y"]) < 200, "beside the button"
    for field in ("rate", "max_tokens"):
        wrong = element(browser, f"field-{field}")
        assert wrong.get_attribute("aria-invalid") == "true"
        assert str(wrong.get_attribute("aria-describedby")).startswith(f"error-{field} ")
        assert text(browser, f"error-{field}").startswith("expected ")
        assert shown(browser, f"field-{field}"), "its group is open"
    assert browser.switch_to.active_element.get_attribute("id") == "field-max_tokens", "the first one that is wrong"
    accessible(browser)
    browser.switch_to.active_element.send_keys("1")
    assert element(browser, "field-max_tokens").get_attribute("aria-invalid") is None
    fill(browser, rate="", max_tokens="20")


def test_before_the_first_run_there_is_a_start_panel(
    browser: webdriver.Chrome, simulator: Simulator, tmp_path: Path
) -> None:
    with running_locust(tmp_path, simulator.chat_url, "--config", "scenarios/smoke.conf") as fresh:
        browser.get(f"{fresh.url}/llm")
        await_(browser, lambda: bool(browser.find_elements(By.ID, "field-rate")) and text(browser, "state") == "ready")
        assert shown(browser, "start-section")
        assert not any(shown(browser, part) for part in ("bar", "conclusion", "run-part", "rate-form"))
        assert element(browser, "scenario").get_attribute("value") == "smoke.conf"
        emulate(browser, 1440, 900)
        button = browser.find_element(By.CSS_SELECTOR, "#start-form button").rect
        assert button["y"] + button["height"] < 900, "Start is seen without scrolling"
        accessible(browser)
        browser.get("about:blank")  # so that the page asks nothing of a Locust that has ended


def test_time_of_which_nothing_is_known_is_a_gap(browser: webdriver.Chrome, locust: WebProcess) -> None:
    log_in(browser, locust)
    script = """
        const points = [0, 2, 4, 30, 32].map((at) => ({ at: 1000 + at, ok_rpm: at }));
        return withGaps(points).map((point) => [point.at, point.ok_rpm ?? null]);
    """
    expected = [[1000, 0], [1002, 2], [1004, 4], [1006, None], [1030, 30], [1032, 32]]
    assert browser.execute_script(script) == expected


def keep_what_is_said(browser: webdriver.Chrome, name: str) -> None:
    """In `window.said`, from now on: all that an element of the page shows, however shortly."""
    script = """
        const shown = document.getElementById(arguments[0]);
        window.said = [];
        const keep = () => window.said.push(shown.textContent);
        new MutationObserver(keep).observe(shown, {childList: true, characterData: true, subtree: true});
    """
    browser.execute_script(script, name)


def read_a_chart_by_keyboard(browser: webdriver.Chrome) -> None:
    """Arrow keys move one cursor through all charts, and say the values."""
    plots = browser.find_elements(By.CSS_SELECTOR, ".plot")
    browser.execute_script("arguments[0].focus()", plots[0])
    plots[0].send_keys("\ue012")
    # In one look: the run goes on, so that there may be a new instant between two looks.
    script = "return ['now', 'max'].map((end) => Number(arguments[0].getAttribute('aria-value' + end)))"
    now, latest = browser.execute_script(script, plots[0])
    assert now < latest
    assert "answered " in str(plots[0].get_attribute("aria-valuetext"))
    for plot in plots[:3]:
        instant = plot.find_element(By.CSS_SELECTOR, ".u-legend .u-value").text
        assert instant.count(":") == 2, f"all charts show the same instant, got {instant!r}"


def curves_do_not_run_backwards(browser: webdriver.Chrome) -> None:
    instants = browser.execute_script("return charts[0].plot.data[0]")
    assert len(instants) > 2
    assert instants == sorted(set(instants))
    assert instants[-1] <= live(browser)["run"]["ended_at"] + 0.1


def accessible(browser: webdriver.Chrome) -> None:
    """axe finds nothing serious or critical, in both themes, on a desk and on a phone."""
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    for width in (1440, 390):
        for dark in (False, True):
            emulate(browser, width, 900, dark)
            found = browser.execute_async_script("axe.run().then(arguments[0])")
            assert len(found["passes"]) > 10
            bad = [(each["id"], each["nodes"][0]["html"]) for each in found["violations"] if each["impact"] in GRAVE]
            assert bad == [], f"{width} px, {'dark' if dark else 'light'}"
    emulate(browser, 1440, 900)


def test_locusts_own_page_has_the_tab_and_the_way_to_ours(browser: webdriver.Chrome, locust: WebProcess) -> None:
    log_in(browser, locust)
    browser.get(f"{locust.url}/?tab=llm")
    await_(browser, lambda: "LLM" in browser.page_source and bool(browser.find_elements(By.TAG_NAME, "nav")))
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
    assert value(browser, "test_name") == "smoke", "a run is named after the scenario that filled its form"
    assert value(browser, "rate") == "", "what the scenario does not say is not kept from before"
    assert "stop-timeout" in text(browser, "scenario-said")


def test_everything_can_be_reached_and_read(browser: webdriver.Chrome, locust: WebProcess) -> None:
    log_in(browser, locust)
    reached = set()
    for _ in range(12):
        browser.switch_to.active_element.send_keys("\ue004")
        reached.add(browser.execute_script("return document.activeElement.textContent.trim()"))
    assert {"Skip to the content", "Locust", "Start", "Runs"} <= reached


def check_against_truth(browser: webdriver.Chrome, simulator: Simulator) -> None:
    """What the page shows of the run equals what the target saw: the same answers, in a minute until the run's end."""
    run = live(browser)["run"]
    truth = {row["client_request_id"]: row for row in simulator.truth() if row["received_at"] >= run["started_at"]}
    ends = answers(Path(run["directory"]))
    assert set(ends) == {name for name, row in truth.items() if row["outcome"] == "ok"}
    end = float(int(run["ended_at"]))
    seconds = min(60.0, end - run["started_at"])
    # When an answer was read is the row's: a busy machine may have read it in another second than it was sent in.
    ended = [name for name, (at, _) in ends.items() if end - seconds <= at < end]
    edge = [name for name, (at, _) in ends.items() if min(abs(at - end), abs(at - end + 60)) < 0.01]
    shown = number(tile(browser, "Requests per minute"))
    assert shown == pytest.approx(len(ended) * 60 / seconds, abs=(len(edge) + 0.5) * 60 / seconds)
    tokens, of_edge = (
        sum(truth[name]["prompt_tokens"] + truth[name]["completion_tokens"] for name in names)
        for names in (ended, edge)
    )
    assert number(tile(browser, "Tokens per minute")) == pytest.approx(
        tokens * 60 / seconds, abs=of_edge * 60 / seconds + 1
    )
    shown_median = number(tile(browser, "TTFT p50 / p95 / p99, ms").split(" / ")[0])
    median_ms = statistics.median(ends[name][1] for name in ended)
    assert shown_median == pytest.approx(median_ms, abs=0.006 * median_ms + 0.5)  # the histogram's step, then rounding
    seen = sorted((truth[name]["first_token_at"] - truth[name]["received_at"]) * 1000 for name in ended)
    assert shown_median >= seen[len(seen) // 2] * 0.99 - 1, "a client cannot see a token before it was sent"


def answers(directory: Path) -> dict[str, tuple[float, float]]:
    """Of each answer in requests.csv: when it ended, Unix s, and its TTFT in ms."""
    with (directory / "requests.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] == "ok"]
    return {
        f"{row['call_id']}-{row['attempt']}": (
            float(row["started_at"]) + float(row["e2e_ms"]) / 1000,
            float(row["ttft_ms"]),
        )
        for row in rows
    }


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
    if shown(browser, "bar"):  # the run of a test that failed
        press(browser, "#stop")
        await_(browser, lambda: shown(browser, "start-section"))


def await_(browser: webdriver.Chrome, condition: Callable[[], bool]) -> None:
    WebDriverWait(browser, PATIENCE_S, poll_frequency=0.1).until(lambda _: condition())


def element(browser: webdriver.Chrome, name: str) -> WebElement:
    return browser.find_element(By.ID, name)


def text(browser: webdriver.Chrome, name: str) -> str:
    return str(browser.execute_script("return document.getElementById(arguments[0])?.textContent.trim() ?? ''", name))


def shown(browser: webdriver.Chrome, name: str) -> bool:
    return element(browser, name).is_displayed()


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


def width_of_page(browser: webdriver.Chrome) -> int:
    return int(browser.execute_script("return document.documentElement.scrollWidth"))


def errors(browser: webdriver.Chrome) -> list[str]:
    """What the console holds of pages of ours; the login page's own favicon is none of them."""
    logged = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in logged if entry["level"] in ("SEVERE", "WARNING")]
