"""A secret of its own in every input there is, every failure there is, and everything that is written searched."""

from __future__ import annotations

import html
import io
import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from analysis.__main__ import main as analysis
from tests.e2e.locust_process import Finished, run_locust, scenario
from tests.ports import free_port
from tests.webui.web_process import running_locust

MARK = "canary"


def canary(name: str) -> str:
    """A secret that is marked at both ends, with characters in between that URLs, HTML and JSON write otherwise."""
    return f"{MARK}-{name}+/&<7f3a9c{MARK}-end"


AZURE, FUNCTION, BEARER, CLUSTER = map(canary, ("azure", "function", "bearer", "cluster"))
OF_FILE, HEADER, NAMED, QUERY, PATH, PROXY, ALONE = map(
    canary, ("file", "header", "named", "query", "path", "proxy", "alone")
)
OPENAI, ANTHROPIC, APP, DAPR = map(canary, ("openai", "anthropic", "app", "dapr"))
PLANTED = (AZURE, FUNCTION, BEARER, CLUSTER, OF_FILE, HEADER, NAMED, QUERY, PATH, PROXY, ALONE)
PLANTED += (OPENAI, ANTHROPIC, APP, DAPR)


@dataclass(frozen=True)
class Failure:
    """What every request is answered with; the text is all that the request held."""

    status: int
    content_type: str = "application/json"
    location: bool = False


class Echo(BaseHTTPRequestHandler):
    """Tells everything back that it was sent, in the answer's body and, when asked to, in its Location."""

    protocol_version = "HTTP/1.1"
    failures: dict[str, Iterator[Failure]]
    """Of each path, one after the other."""
    seen: list[str]

    def do_GET(self) -> None:
        self.failure = next(self.failures[self.path])
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        told = " ".join([self.path, *map(str, self.headers.values())])
        self.seen.append(told)
        answer = self._text(" ".join([told] * 5) + body).encode()
        self.send_response(self.failure.status)
        if self.failure.location:
            self.send_header("Location", f"http://127.0.0.1:9/login?code={quote(FUNCTION)}&told={quote(told)}")
        self.send_header("Content-Type", self.failure.content_type)
        self.send_header("x-request-id", self.headers.get("api-key", "none"))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET

    def _text(self, told: str) -> str:
        if self.failure.content_type == "text/html":
            return f"<html><title>{html.escape(told)}</title><body>{html.escape(told)}</body></html>"
        return json.dumps({"error": {"code": "refused", "message": f"Incorrect key provided: {told}"}})

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def echo(*failures: Failure) -> Iterator[tuple[str, list[str]]]:
    """Its URL, and what it was sent."""
    seen: list[str] = []
    in_turn: defaultdict[str, Iterator[Failure]] = defaultdict(lambda: cycle(failures))
    handler = type("Handler", (Echo,), {"failures": in_turn, "seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def planted(url: str, proxy: str, folder: Path, *lines: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment of a run that has a canary in each input; `lines` are added to its .env."""
    env_file = folder / "inputs" / "lab.env"
    env_file.parent.mkdir()
    text = [f"AZURE_OPENAI_API_KEY='{AZURE}'", f"OTHER_SECRET='{OF_FILE}'", f"ORCHESTRATOR_BEARER_TOKEN='{BEARER}'"]
    env_file.write_text("\n".join([*text, *lines]) + "\n")
    flags = ["-f", "locustfiles/mixed_traffic.py", "--dataset", "scenarios/dataset.csv", "--env-file", str(env_file)]
    flags += ["--headers", f"X-Api-Key: {HEADER}; X-Second-Token: ${{GATEWAY_TOKEN}}; X-Third-Token: ${{OTHER_SECRET}}"]
    flags += ["--query", f"key={quote(QUERY, safe='')}", "--rag-path", f"/api/orc?code={quote(PATH, safe='')}"]
    flags += ["-u", "4", "-r", "4", "-t", "3s", "--loglevel", "DEBUG"]
    variables = {
        "AZURE_OPENAI_ENDPOINT": url,
        "AZURE_OPENAI_DEPLOYMENT": "gpt-4.1-nano",
        "ORCHESTRATOR_ENDPOINT": url,
        "ORCHESTRATOR_FUNCTION_KEY": FUNCTION,
        "GATEWAY_TOKEN": NAMED,
        "TOKENSWARM_CLUSTER_TOKEN": CLUSTER,
        "http_proxy": f"http://user:{quote(PROXY, safe='')}@{proxy.removeprefix('http://')}",
        "no_proxy": "",
        "NO_PROXY": "",
    }
    return scenario("smoke", *flags), variables


def spellings(secret: str) -> set[bytes]:
    """Forms that do not hold the mark as it stands."""
    whole = {secret, f"user:{secret}", f"Bearer {secret}"}
    return {b64encode(each.encode())[:24] for each in whole}


def leaks(folder: Path, output: str) -> list[str]:
    """Where a canary stands, with what is around it."""
    texts = {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    texts["output"] = output.encode()
    wanted = {MARK.encode(), *(each for secret in PLANTED for each in spellings(secret))}
    found = []
    for name, data in texts.items():
        found += [f"{name}: {data[max(0, at - 60) : at + 60]!r}" for each in wanted if (at := data.find(each)) >= 0]
    return found


def report(finished: Finished) -> str:
    """What `analysis report` prints; its files join those of the run."""
    (run,) = finished.results.glob("*/*/run.json")
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        assert analysis(["report", str(run.parent)]) == 0
    for name in ("run.json", "requests.csv", "report.html", "report.md", "summary.json", "locust_failures.csv"):
        assert (run.parent / name).stat().st_size > 0, name
    return printed.getvalue()


PAGES = ("/", "/llm", "/llm/live", "/llm/form", "/stats/requests", "/stats/requests/csv", "/stats/failures/csv",
         "/stats/report", "/exceptions", "/exceptions/csv", "/tasks", "/logs", "/worker-count")  # fmt: skip
OF_A_RUN = ("report.html", "report.md", "run.json", "requests.csv", "summary.json")

FAILURES = {
    "401": Failure(401),
    "500": Failure(500),
    "html": Failure(502, "text/html"),
    "login": Failure(200, "text/html"),
    "redirect": Failure(302, "text/html", location=True),
}


@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "proxy"])
def test_a_service_that_tells_all_back_in_a_run(proxied: bool, tmp_path: Path) -> None:
    with echo(*FAILURES.values()) as (url, seen):
        arguments, variables = planted(url, url, tmp_path)
        if not proxied:
            variables |= {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}
        processes = [] if proxied else ["--processes", "2"]
        work = tmp_path / "work"
        work.mkdir()
        finished = run_locust([*arguments, "--preflight", "none", *processes], variables, work)
    sent = " ".join(seen)
    for secret in (AZURE, FUNCTION, BEARER, HEADER, NAMED, OF_FILE):
        assert secret in sent, f"{secret} was not sent: nothing would be seen"
    assert quote(QUERY, safe="") in sent
    assert quote(PATH, safe="") in sent
    assert (b64encode(f"user:{PROXY}".encode()).decode() in sent) is proxied
    run = finished.run()
    assert finished.code == run.code(3), finished.output
    answered = {(row.target, row.status) for row in run.rows if row.status}
    assert answered == {(target, each.status) for target in ("chat", "rag") for each in FAILURES.values()}
    assert leaks(work, finished.output + report(finished)) == []


@pytest.mark.parametrize("kind", FAILURES)
def test_a_service_that_tells_all_back_at_the_start(kind: str, tmp_path: Path) -> None:
    with echo(FAILURES[kind]) as (url, seen):
        arguments, variables = planted(url, url, tmp_path)
        work = tmp_path / "work"
        work.mkdir()
        finished = run_locust([*arguments, "--preflight", "full"], variables, work)
    assert AZURE in " ".join(seen)
    assert finished.code == (2 if kind == "401" else finished.run().code(3)), finished.output
    assert leaks(work, finished.output) == []


@pytest.mark.parametrize("preflight", ["none", "full"])
@pytest.mark.parametrize("proxy", ["127.0.0.1", ""], ids=["direct", "proxy"])
def test_nobody_listens(preflight: str, proxy: str, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    arguments, variables = planted(url, url, tmp_path)
    work = tmp_path / "work"
    work.mkdir()
    variables |= {"no_proxy": proxy, "NO_PROXY": proxy}
    finished = run_locust([*arguments, "--preflight", preflight], variables, work)
    assert finished.code == (finished.run().code(3) if preflight == "none" else 2), finished.output
    printed = report(finished) if preflight == "none" else ""
    assert leaks(work, finished.output + printed) == []


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        pytest.param([], [ALONE], id="key-alone"),
        pytest.param([], [f"export {ALONE}"], id="export-key-alone"),
        pytest.param([], [f"{ALONE}=1"], id="key-as-name"),
        pytest.param([], [f"NAME='{ALONE}"], id="unclosed"),
        pytest.param([], [f"NAME=${{{ALONE}}}"], id="key-as-reference"),
        pytest.param(["--rate", "-1"], [], id="option"),
        pytest.param(["--headers", ALONE], [], id="header-without-name"),
        pytest.param(["--headers", f"Authorization: Bearer {ALONE}; X-B: ${{NOWHERE}}"], [], id="header-unknown"),
        pytest.param(["--headers", f'{{"api-key": "{ALONE}"'], [], id="header-json"),
        pytest.param(["--query", ALONE], [], id="query-without-name"),
        pytest.param(["--rag-path", f"api/orc?code={quote(ALONE, safe='')} x"], [], id="path"),
        pytest.param(["--rag-host", f"http://user:{ALONE}@127.0.0.1"], [], id="host"),
        pytest.param(["--rag-host", f"http://127.0.0.1/?code={quote(ALONE, safe='')}"], [], id="host-query"),
    ],
)
def test_a_mistake_beside_keys(flags: list[str], lines: list[str], tmp_path: Path) -> None:
    arguments, variables = planted("http://127.0.0.1:9", "http://127.0.0.1:9", tmp_path, *lines)
    work = tmp_path / "work"
    work.mkdir()
    finished = run_locust([*arguments, *flags], variables, work)
    assert finished.code == 2, finished.output
    assert "Traceback" not in finished.output
    assert leaks(work, finished.output) == []


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        (["--endpoint", "chat"], {"OPENAI_API_KEY": OPENAI, "ORCHESTRATOR_APP_APIKEY": APP}),
        (["--endpoint", "messages"], {"ANTHROPIC_API_KEY": ANTHROPIC, "DAPR_API_TOKEN": DAPR}),
    ],
    ids=["openai-and-app", "anthropic-and-dapr"],
)
def test_the_key_of_every_kind_of_target(flags: list[str], variables: dict[str, str], tmp_path: Path) -> None:
    arguments = ["-f", "locustfiles/mixed_traffic.py", "--dataset", "scenarios/dataset.csv", "--deployment", "m"]
    arguments += ["--rag-contract", "v2", "--preflight", "none", "-u", "4", "-r", "4", "-t", "4s"]
    with echo(Failure(401)) as (url, seen):
        base = {"OPENAI_BASE_URL": f"{url}/v1"} if "chat" in flags else {"ANTHROPIC_BASE_URL": url}
        given = {**base, "ORCHESTRATOR_ENDPOINT": url, **variables}
        finished = run_locust([*arguments, *flags, "--loglevel", "DEBUG"], given, tmp_path)
    assert all(secret in " ".join(seen) for secret in variables.values()), finished.output
    assert finished.code == finished.run().code(3), finished.output
    assert leaks(tmp_path, finished.output + report(finished)) == []


def test_a_start_that_the_web_ui_refuses(tmp_path: Path) -> None:
    env = {"AZURE_OPENAI_API_KEY": AZURE}
    with echo(Failure(401)) as (url, seen), running_locust(tmp_path, url, "--loglevel", "DEBUG", env=env) as locust:
        answer = locust.post("/swarm", {"user_count": "1", "spawn_rate": "1", "run_time": ""})[1]
        pages = [locust.get(path)[1] for path in PAGES]
    assert AZURE in " ".join(seen)
    assert "API key: expected one that " in answer
    assert leaks(tmp_path, answer + "".join(pages)) == []


def test_pages_journals_and_reports_of_the_web_ui(tmp_path: Path) -> None:
    header = f"X-Api-Key: {HEADER}; X-Second-Token: ${{GATEWAY_TOKEN}}"
    flags = ["--headers", header, "--preflight", "none", "--processes", "2", "--loglevel", "DEBUG"]
    env = {"AZURE_OPENAI_API_KEY": AZURE, "GATEWAY_TOKEN": NAMED, "TOKENSWARM_CLUSTER_TOKEN": CLUSTER}
    with echo(Failure(500)) as (url, seen), running_locust(tmp_path, url, *flags, env=env) as locust:
        locust.await_live(lambda _: json.loads(locust.get("/worker-count")[1])["worker_count"] == 2)
        form = {"user_count": "4", "spawn_rate": "4", "run_time": ""}
        started = json.loads(locust.post("/swarm", form)[1])
        assert started["success"], started
        locust.await_live(lambda live: bool(live["run"]) and live["run"]["counts"]["failed"] >= 20)
        assert list(tmp_path.rglob("journal-*.csv"))
        assert leaks(tmp_path, "") == []
        pages = [locust.get(path)[1] for path in PAGES]
        locust.post("/stop")
        locust.await_live(lambda live: bool(live["runs"]) and live["runs"][-1]["report"] in ("ready", "failed"))
        pages += [locust.get(path)[1] for path in (*PAGES, *(f"/llm/runs/1/{name}" for name in OF_A_RUN))]
    assert all(secret in " ".join(seen) for secret in (AZURE, HEADER, NAMED))
    assert any("Incorrect key provided" in page for page in pages), "nothing was told back: nothing would be seen"
    assert leaks(tmp_path, "".join(pages)) == []
