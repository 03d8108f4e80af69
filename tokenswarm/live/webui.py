"""The LLM page in Locust's web UI, through the UI's own extension points: a tab, a table in it, routes and requests'
hooks. Locust's pages stay as they are; a bar above them leads to ours.

Every route asks for the login that `--web-login` asks for and lives below `--web-base-path`; who may ask is
`web_guard`'s.
"""

from __future__ import annotations

from locust.argument_parser import ui_extra_args_dict
from locust.runners import MasterRunner

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, abort, jsonify, request, send_from_directory
from flask_login import current_user  # type: ignore[import-untyped]

from tokenswarm.live.current_run import CurrentRun
from tokenswarm.live.monitor import Monitor
from tokenswarm.live.run_list import SERVED, RunList
from tokenswarm.live.start_form import (
    StartForm,
    by_field,
    check_scenario,
    list_scenarios,
    read_scenario,
    scenario_folder,
)
from tokenswarm.live.web_guard import WebGuard, allow_hosts
from tokenswarm.redaction import SECRETS
from tokenswarm.userinput import BadInput
from tokenswarm.workload.arrivals import parse_rate

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

    from tokenswarm.runner.load_test import LoadTest

WEB = Path(__file__).resolve().parent / "web"
TAB = "llm"
PAGE_RULES = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REPORT_RULES = "sandbox allow-scripts allow-downloads allow-popups; frame-ancestors 'none'"
"""A report shows texts of a service; whatever they might run is not this site."""
RUNNING = ("spawning", "running", "cleanup", "stopping")


class LlmPage:
    """The page of one web UI. Knows the runs of this process and their reports."""

    def __init__(self, current_run: CurrentRun, web_ui: WebUI) -> None:
        self._current_run = current_run
        assert web_ui.app is not None
        self._web_ui = web_ui
        self._app = web_ui.app
        self._runs = RunList()
        options = vars(self._load_test.options)
        self._base = str(options.get("web_base_path") or "")
        self._scenarios = scenario_folder()
        self._form = StartForm(options, self._scenarios)
        further = [entry.strip() for entry in str(options.get("web_allowed_hosts") or "").split(",") if entry.strip()]
        bound_to = str(options.get("web_host") or "")
        self._guard = WebGuard(web_ui, allow_hosts(bound_to, bool(web_ui.tls_cert), further))

    @property
    def _load_test(self) -> LoadTest:
        return self._current_run.load_test

    @property
    def _environment(self) -> Environment:
        return self._load_test.environment

    def attach(self) -> None:
        """Add tab, routes and hooks; before the web server starts."""
        self._web_ui.template_args["extended_tabs"] = [{"title": "LLM", "key": TAB}]
        self._web_ui.template_args["extended_tables"] = [
            {"key": TAB, "structure": [{"key": "figure", "title": "Last minute"}, {"key": "value", "title": ""}]}
        ]
        self._web_ui.template_args["extended_csv_files"] = [
            {"href": f"{self._base}/llm", "title": "LLM page: charts, criteria, report and rows of the run"}
        ]
        self._app.register_blueprint(self._routes())
        self._guard.attach()
        self._app.before_request(self._before_request)
        self._app.after_request(self._after_request)
        self._current_run.ended.append(self._make_report)

    def _routes(self) -> Blueprint:
        routes = Blueprint("tokenswarm", __name__, url_prefix=self._base or None)
        for rule, view, methods in (
            ("/llm", self._page, ["GET"]),
            ("/llm/web/<name>", self._asset, ["GET"]),
            ("/llm/live", self._live, ["GET"]),
            ("/llm/form", self._form_fields, ["GET"]),
            ("/llm/scenarios/<name>", self._scenario, ["GET"]),
            ("/llm/rate", self._change_rate, ["POST"]),
            ("/llm/runs/<int:number>/<name>", self._run_file, ["GET"]),
            ("/llm/runs/<int:number>/compare", self._compare, ["POST"]),
        ):
            protected = self._web_ui.auth_required_if_enabled(view)
            routes.add_url_rule(rule, endpoint=view.__name__.strip("_"), view_func=protected, methods=methods)
        return routes

    def _page(self) -> Response:
        page = (WEB / "llm.html").read_text(encoding="utf-8")
        response = Response(page.replace(HEAD, HEAD + _token(self._guard, "."), 1), mimetype="text/html")
        response.headers["Content-Security-Policy"] = PAGE_RULES
        response.headers["Cache-Control"] = "no-store"
        return response

    def _asset(self, name: str) -> Response:
        return send_from_directory(WEB, name, max_age=0)

    def _live(self) -> Response:
        """Everything that changes; `points` only those after `since`, as the browser keeps the others."""
        since = request.args.get("since", 0.0, type=float)
        monitor = self._current_run.monitor
        body: dict[str, Any] = {
            "state": self._load_test.runner.state,
            "phase": self._current_run.phase,
            "is_on": self._current_run.is_on,
            "target_users": self._load_test.runner.target_user_count,
            "runs": self._runs.describe(self._current_directory()),
            "progress": None,
            "run": None,
            "points": [],
        }
        if monitor is not None:
            body["run"] = {**monitor.snapshot(), "search": _search_facts(monitor), "rate": self._rate(monitor)}
            course = self._current_run.course()
            body["progress"] = course.facts(time.time()) if course is not None else None
            body["points"] = [point for point in monitor.points if point["at"] > since]
        return self._json(body)

    def _form_fields(self) -> Response:
        options = vars(self._load_test.options)
        locust_fields = {
            "user_count": options.get("num_users") or 1,
            "spawn_rate": f"{options.get('spawn_rate') or 1:g}",
            "run_time": options.get("run_time") or "",
            "host": self._environment.host or "",
        }
        return self._json(
            {
                "locust": {name: str(value) for name, value in locust_fields.items()},
                "groups": self._form.describe(options),
                "token": self._guard.token,
                "scenarios": list_scenarios(self._scenarios),
                "scenario": self._given_scenario(),
                "locustfile": self._environment.locustfile,
            }
        )

    def _given_scenario(self) -> str | None:
        """The scenario of the last start, else of the command line, where the form can be filled from it."""
        given = self._load_test.preparation.scenario
        return given.name if given is not None and given.resolve().parent == self._scenarios.resolve() else None

    def _scenario(self, name: str) -> Response:
        try:
            return self._json({"success": True, **read_scenario(self._scenarios, name)})
        except BadInput as error:
            return self._refuse(error)

    def _change_rate(self) -> Response:
        text = str((request.get_json(silent=True) or {}).get("rate", ""))
        try:
            begins_at = self._load_test.change_rate(parse_rate(text))
        except BadInput as error:
            return self._refuse(error)
        return self._json({"success": True, "at": begins_at})

    def _run_file(self, number: int, name: str) -> Response:
        runs = self._runs.directories(self._current_directory())
        if not 1 <= number <= len(runs) or name not in SERVED:
            abort(404)
        directory = runs[number - 1].resolve()
        if not (directory / name).resolve().is_relative_to(directory):
            abort(404)
        response = send_from_directory(directory, name, max_age=0, as_attachment=name.endswith((".csv", ".md")))
        response.headers["Content-Security-Policy"] = REPORT_RULES
        return response

    def _compare(self, number: int) -> Response:
        try:
            self._runs.compare(number)
        except BadInput as error:
            return self._refuse(error)
        return self._json({"success": True})

    def _current_directory(self) -> Path | None:
        """Of the run that is on."""
        monitor = self._current_run.monitor
        return monitor.run.directory if monitor is not None and self._current_run.is_on else None

    def _make_report(self, monitor: Monitor) -> None:
        self._runs.add(monitor.run.directory)

    def _rate(self, monitor: Monitor) -> dict[str, Any]:
        """The rate that is asked for, and whether the page may change it."""
        changes, plan = monitor.run.rate_changes, monitor.run.settings.plan
        rate = changes[-1][1] if changes else getattr(plan, "rate", None)
        can_change = self._current_run.is_on and hasattr(plan, "rate")
        return {"rpm": rate if isinstance(rate, float) else None, "can_change": can_change}

    def _before_request(self) -> Response | None:
        path = request.path.removeprefix(self._base)
        may_act = not self._web_ui.web_login or current_user.is_authenticated
        if path == "/swarm" and request.method == "POST" and may_act:
            return self._check_start()
        return None

    def _check_start(self) -> Response | None:
        """The answer to a start that cannot be, with everything that is wrong; `None` when it can."""
        options = vars(self._load_test.options)
        runner = self._load_test.runner
        if runner.state in RUNNING:  # Locust changes the number of users
            problems = self._form.check_change(options, request.form)
            return self._refuse(BadInput(problems)) if problems else None
        options, problems = self._form.would_be_options(options, request.form, set(ui_extra_args_dict()))
        problems += check_scenario(self._scenarios, request.form.get("scenario", ""))
        if isinstance(runner, MasterRunner) and runner.worker_count == 0:
            problems.append("workers: expected at least one connected worker, got none")
        try:
            self._load_test.preparation.check_start(options, options.get("host") or self._environment.host)
        except BadInput as error:
            problems += error.problems
        if problems:
            return self._refuse(BadInput(list(dict.fromkeys(problems))))
        if request.form.get("run_time") == "":  # Locust would keep that of the start before
            self._load_test.options.run_time = None
        self._load_test.preparation.scenario = self._scenario_of(request.form.get("scenario", ""))
        return None

    def _scenario_of(self, filled_from: str) -> Path | None:
        """The scenario that a form was filled from; the one before where the form names none (Locust's own)."""
        return self._scenarios / filled_from if filled_from else self._load_test.preparation.scenario

    def _refuse(self, error: BadInput) -> Response:
        message = SECRETS.redact("; ".join(error.problems))
        problems = [SECRETS.redact(problem) for problem in error.problems]
        return self._json({"success": False, "message": message, "problems": problems, "fields": by_field(problems)})

    def _json(self, body: dict[str, Any]) -> Response:
        response: Response = jsonify(SECRETS.redact_values(body))
        response.headers["Cache-Control"] = "no-store"
        return response

    def _after_request(self, response: Response) -> Response:
        path = request.path.removeprefix(self._base)
        if response.direct_passthrough or response.is_streamed:
            return response  # a file: what is in it was cleaned when it was written
        if response.is_json:
            body = response.get_json()
            if path == "/stats/requests" and response.status_code == 200:
                body["extended_stats"] = [{"key": TAB, "data": self._tab_rows()}]
            response.set_data(self._app.json.dumps(SECRETS.redact_values(body)))
        elif response.mimetype == "text/html":
            page = SECRETS.hide(response.get_data(as_text=True))
            if path in ("", "/") and response.status_code == 200:
                page = page.replace(ROOT, _token(self._guard, self._base) + _bar(self._base) + ROOT, 1)
                response.headers["Cache-Control"] = "no-store"
            response.set_data(page)
        else:
            response.set_data(SECRETS.redact(response.get_data(as_text=True)))
        return response

    def _tab_rows(self) -> list[dict[str, str]]:
        monitor = self._current_run.monitor
        return [] if monitor is None else tab_rows(monitor.snapshot())


HEAD = "<head>"
ROOT = '<div id="root"></div>'
BAR_STYLE = (
    "font:14px/1.4 system-ui,sans-serif;padding:6px 16px;background:#0b3d2e;color:#fff;display:flex;gap:16px;"
    "flex-wrap:wrap"
)


def _token(guard: WebGuard, base: str) -> str:
    """What makes a page's own requests bring the token."""
    script = f'<script src="{base}/llm/web/token.js"></script>'
    return f'<meta name="tokenswarm-token" content="{guard.token}">{script}'


def _bar(base: str) -> str:
    link = f'<a href="{base}/llm{{}}" style="color:#fff">{{}}</a>'
    links = (link.format("", "LLM page: live figures and charts"), link.format("#start", "Start from a scenario"))
    return f'<nav aria-label="Tokenswarm" style="{BAR_STYLE}">{"".join(links)}</nav>'


def tab_rows(snapshot: dict[str, Any]) -> list[dict[str, str]]:
    """The table of Locust's LLM tab: figures of the last minute, criteria, verdict."""
    figures = snapshot["figures"][0]
    rows = [
        (
            "Requests per minute: answered, throttled, failed",
            _several(figures, "ok_rpm", "throttled_rpm", "failed_rpm"),
        ),
        ("Tokens per minute: prompt, generated, total", _several(figures, "prompt_tpm", "generated_tpm", "total_tpm")),
        ("Tokens per minute as the limiter estimates them", _plain(figures["estimated_tpm"])),
        *(
            (
                f"{title} p50, p95, p99 (ms)",
                _several(figures[metric], "p50", "p95", "p99") + f"   n={figures[metric]['n']}",
            )
            for title, metric in (("TTFT", "ttft_ms"), ("TBT", "tbt_ms"), ("E2E", "e2e_ms"))
        ),
        ("In flight", str(snapshot["in_flight"])),
        *((criterion["text"], _judged(criterion)) for criterion in snapshot["criteria"]),
    ]
    if snapshot["verdict"]:
        rows.append(("Verdict", snapshot["verdict"]["state"]))
    return [{"figure": name, "value": value} for name, value in rows]


def _several(figures: dict[str, Any], *names: str) -> str:
    return ", ".join(_plain(figures[name]) for name in names)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _judged(criterion: dict[str, Any]) -> str:
    words = {"held": "held", "failed": "FAILED", "no_data": "no data"}
    value = criterion["value"]
    return words[criterion["state"]] + ("" if value is None else f": {_plain(value)} (n={criterion['n']})")


def _search_facts(monitor: Monitor) -> dict[str, Any] | None:
    facts = monitor.run.judge.facts()
    if facts is None:
        return None
    step = monitor.run.judge.step if monitor.run.ended_at is None else None
    return {**facts, "now": f"{step} ({step.purpose})" if step else None}
