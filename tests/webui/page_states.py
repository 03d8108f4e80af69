"""Pictures of the live page in every state, to be looked at: python -m tests.webui.page_states DIRECTORY [STATE ...]

Each state is a real run of Locust against the simulator, shown by headless Chromium at 1440 and 390 px in both themes.
The pictures of docs/live.md are among them, cut to a screen, under DIRECTORY/guides: copy them to docs/images.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.simulator_process import Simulator, running_simulator
from tests.webui.web_process import WebProcess, running_locust

WIDTHS = (1440, 390)
HEIGHT = 1500
PATIENCE_S = 60
USERS = ("--max-tokens", "20", "--context-tokens", "100", "-u", "20", "-r", "20")
TARGET = """
[deployments.'gpt-4.1-nano']
ttft_base_ms = 180
tbt_ms = 11
[deployments.small-quota]
tpm = 20_000
rpm_per_1000_tpm = 6
[deployments.slow]
ttft_base_ms = 9_000
ttft_std_ms = 0
"""
HOLDING = "p95(ttft_ms) > 5000; percentage(throttled) > 5; percentage(error) > 1"
GUIDES = {
    "07-failing-1440-light": "live-page",
    "07-failing-390-dark": "live-page-phone",
    "03-problems-1440-light": "start-form",
    "10-failed-1440-light": "live-page-ended",
}
BREAKING = "p95(e2e_ms) > 150; percentage(throttled) > 5; avg(ttft_ms) > 100; percentage(error) > 1"

Look = Callable[[str], None]


def browse() -> webdriver.Chrome:
    """A headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def emulate(browser: webdriver.Chrome, width: int, height: int = HEIGHT, dark: bool = False) -> None:
    """A window of that size and theme."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


class Photographer:
    """Takes the pictures of one page into `directory`."""

    def __init__(self, browser: webdriver.Chrome, directory: Path) -> None:
        self.browser = browser
        self.directory = directory

    def look(self, state: str) -> None:
        """The page as it is now, whole, in each width and theme; says where it is wider than its window."""
        for width in WIDTHS:
            for theme in ("light", "dark"):
                emulate(self.browser, width, dark=theme == "dark")
                time.sleep(0.4)
                self._picture(f"{state}-{width}-{theme}", width)
        print(state, flush=True)

    def _picture(self, name: str, width: int) -> None:
        size = "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        wide, high = self.browser.execute_script(size)
        if wide > width:
            print(f"{name}: {wide} px wide", flush=True)
        self._shoot(self.directory / f"{name}.png", width, high)
        if name in GUIDES:
            self._shoot(self.directory / "guides" / f"{GUIDES[name]}.png", width, min(high, HEIGHT))

    def _shoot(self, path: Path, width: int, height: int) -> None:
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def open(self, locust: WebProcess) -> None:
        """The page of one Locust, its form loaded."""
        self.browser.get(f"{locust.url}/llm")
        self.until(
            "return Boolean(document.getElementById('field-rate')) && byId('state').textContent !== 'Waiting for data'"
        )

    def until(self, script: str) -> None:
        """Wait until a script says yes."""
        WebDriverWait(self.browser, PATIENCE_S, poll_frequency=0.1).until(
            lambda browser: browser.execute_script(script)
        )

    def shown(self, text: str) -> None:
        """Wait until a text is on the page."""
        self.until(f"return document.body.innerText.includes({text!r})")

    def press(self, selector: str) -> None:
        self.browser.execute_script("document.querySelector(arguments[0]).click()", selector)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.browser.execute_script("byId(arguments[0]).value = arguments[1]", f"field-{name}", value)

    def start(self, **fields: str) -> None:
        """Start a run from the form."""
        self.fill(**{"rate": "", "run_time": "", "failure_criteria": HOLDING, **fields})
        self.press("#start-form button")
        self.shown("running")


@contextlib.contextmanager
def page(camera: Photographer, target: Simulator, *arguments: str) -> Iterator[WebProcess]:
    """The page of a new Locust."""
    with (
        tempfile.TemporaryDirectory() as directory,
        running_locust(Path(directory), target.chat_url, *USERS, *arguments) as locust,
    ):
        camera.open(locust)
        yield locust
        camera.browser.get("about:blank")  # so that the page asks nothing of a Locust that has ended


def before_a_run(camera: Photographer, target: Simulator) -> None:
    with page(camera, target):
        camera.look("01-untouched")
        camera.browser.execute_script("byId('scenario').value = 'smoke.conf'")
        camera.press("#scenario-form button")
        camera.shown("The form holds smoke.conf")
        camera.look("02-filled")
        camera.fill(rate="quick", max_tokens="many", user_count="0", failure_criteria="p95(nonsense) > 3")
        camera.press("#start-form button")
        camera.shown("rate: expected")
        camera.look("03-problems")


def running(camera: Photographer, target: Simulator) -> None:
    with page(camera, target):
        camera.start(rate="120", test_name="checkout-chat", run_time="5m")
        camera.shown("Would pass if it ended now")
        time.sleep(25)
        camera.look("05-running")
        camera.press("#stop")
        camera.shown("Open report")
        camera.look("08-interrupted")


def spawning(camera: Photographer, target: Simulator) -> None:
    with page(camera, target):
        camera.fill(user_count="100", spawn_rate="2", rate="", run_time="3m", failure_criteria=HOLDING)
        camera.press("#start-form button")
        camera.shown("starting users")
        time.sleep(4)
        camera.look("04-spawning")


def throttled(camera: Photographer, target: Simulator) -> None:
    with page(camera, target, "--deployment", "small-quota", "--retry", "none", "--quota-tpm", "20000"):
        camera.start(rate="900", test_name="over-quota", run_time="3m")
        time.sleep(25)
        camera.look("06-throttled")


def ended_passed(camera: Photographer, target: Simulator) -> None:
    with page(camera, target):
        camera.start(rate="300", test_name="checkout-chat", run_time="20s")
        camera.shown("Open report")
        camera.look("09-passed")
        camera.press("#run-again")
        camera.shown("left of")
        camera.shown("Compare with the last")
        camera.press("#compare")
        camera.shown("Open comparison")
        camera.look("09-passed-again")


def failing(camera: Photographer, target: Simulator) -> None:
    with page(camera, target):
        camera.start(rate="600", test_name="checkout-chat", run_time="30s", failure_criteria=BREAKING)
        camera.shown("Would fail if it ended now")
        time.sleep(15)
        camera.look("07-failing")
        camera.shown("Open report")
        camera.look("10-failed")


def draining(camera: Photographer, target: Simulator) -> None:
    with page(camera, target, "--deployment", "slow", "--stop-timeout", "30"):
        camera.start(run_time="12s", test_name="slow-answers")
        camera.shown("waiting for requests under way")
        camera.look("08-draining")


def untrusted(camera: Photographer, target: Simulator) -> None:
    with page(camera, target, "--deployment", "slow", "-u", "2", "--stop-timeout", "20"):
        camera.start(rate="300", user_count="2", run_time="15s", test_name="too-few-users")
        time.sleep(10)
        camera.look("11-untrusted-so-far")
        camera.shown("Open report")
        camera.look("11-untrusted")


def no_data(camera: Photographer, target: Simulator) -> None:
    with page(camera, target):
        camera.start(
            rate="60",
            run_time="6s",
            test_name="too-short",
            failure_criteria="rag: p95(ttft_ms) > 2000; percentage(error) > 1",
        )
        camera.shown("Open report")
        camera.look("12-no-data")


def worker_lost(camera: Photographer, target: Simulator) -> None:
    with page(camera, target, "--processes", "2") as locust:
        camera.start(rate="300", run_time="2m", test_name="two-workers")
        time.sleep(8)
        psutil.Process(locust.process.pid).children()[0].kill()
        time.sleep(14)
        camera.look("13-worker-lost")
        camera.press("#stop")
        camera.shown("Open report")
        camera.look("13-worker-lost-ended")


def master_lost(camera: Photographer, target: Simulator) -> None:
    with page(camera, target) as locust:
        camera.start(rate="300", run_time="2m", test_name="checkout-chat")
        time.sleep(8)
        locust.process.kill()
        camera.shown("No answer from Locust")
        time.sleep(6)
        camera.look("14-master-lost")


def searching(camera: Photographer, target: Simulator) -> None:
    with page(camera, target, "--config", "scenarios/find-capacity.conf"):
        camera.press("#start-form button")
        camera.shown("Capacity search")
        time.sleep(20)
        camera.look("15-searching")


STATES = (
    before_a_run,
    spawning,
    running,
    throttled,
    failing,
    draining,
    ended_passed,
    untrusted,
    no_data,
    worker_lost,
    master_lost,
    searching,
)


def main(directory: Path, wanted: list[str]) -> None:
    browser = browse()
    try:
        with running_simulator(TARGET, seed=7) as target:
            for state in STATES:
                if not wanted or state.__name__ in wanted:
                    state(Photographer(browser, directory), target)
    finally:
        browser.quit()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
