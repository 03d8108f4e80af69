"""One run, and every place that shows a figure of it: terminal, run.json, JSON, Markdown, page, JUnit, `check`. The
same figure everywhere, of the same requests; held against the rows themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np
import pytest

from tests.faults.locust_run import LocustRun, headless, running_locust
from tests.simulator_process import ROOT, running_simulator

CONFIG = """
[deployments.'gpt-4.1-nano']
ttft_base_ms = 30
ttft_std_ms = 8
tbt_ms = 4
tbt_std_ms = 1
faults = [{fault = "http_500", share = 0.15}, {fault = "http_429", share = 0.1}]
"""
CRITERIA = (
    "percentage(error) > 90; p95(ttft_ms) > 9000; p50(e2e_ms) > 9000; avg(rpm) < 1; avg(tpm) < 1; "
    "count(throttled) > 1000; count(requests) < 1; percentage(throttled) > 90"
)
WARM_UP_S, COOL_DOWN_S = 1.3, 0.4


@dataclass
class Shown:
    """What one run says of itself, by place."""

    run: LocustRun
    check: str
    summary: dict[str, Any]

    def text(self, name: str) -> str:
        return (self.run.directory / name).read_text()

    @property
    def markdown(self) -> dict[str, list[str]]:
        """Cells by the first one of their row, of the first table that has it."""
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in self.text("report.md").splitlines() if line[:1] == "|"]
        return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in reversed(rows)}

    @property
    def html(self) -> dict[str, list[str]]:
        rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', self.text("report.html"), re.DOTALL)
        found = {}
        for name, cells in reversed(rows):
            bare = re.sub(r"<small>.*?</small>", "", cells, flags=re.DOTALL)  # shares and intervals
            found[unescape(name)] = [unescape(cell) for cell in re.findall(r"<td[^>]*>([^<]*)", bare)]
        return found

    @property
    def window(self) -> list[dict[str, str]]:
        """Rows that were started in the run's window."""
        begin, end = self.bounds
        return [row for row in self.run.rows if begin <= float(row["started_at"]) <= end]

    @property
    def bounds(self) -> tuple[float, float]:
        facts = self.run.facts
        return facts["started_at"] + WARM_UP_S, facts["ended_at"] - COOL_DOWN_S

    def per_minute(self, total: float) -> float:
        begin, end = self.bounds
        return total * 60 / (end - begin)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    times = ["--warm-up", f"{WARM_UP_S}s", "--cool-down", f"{COOL_DOWN_S}s"]
    with running_simulator(CONFIG) as simulator:
        given = ["--rate", "1500", "--max-lag", "2", *times, "--failure-criteria", CRITERIA]
        arguments = headless(simulator.chat_url, *given, users=10, run_time="5s")
        with running_locust(tmp_path_factory.mktemp("one"), *arguments, env={"LOCUST_REPORT": "yes"}) as run:
            run.wait(60)
    junit = run.directory / "junit.xml"
    command = [sys.executable, "-m", "analysis", "check", str(run.directory), "--junit", str(junit)]
    check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False).stdout
    yield Shown(run, check, json.loads((run.directory / "summary.json").read_text()))


def test_counts_are_those_of_the_rows(shown: Shown) -> None:
    found = Counter(row["outcome"] for row in shown.window)
    ok, throttled = found["ok"], found["throttled"]
    failed = found.total() - ok - throttled
    assert ok and throttled and failed and len(shown.window) < len(shown.run.rows)
    (terminal,) = re.findall(r"^chat +(\d+) +(\d+) +(\d+) +(\d+) ", shown.run.output, re.MULTILINE)
    assert tuple(map(int, terminal)) == (found.total(), ok, throttled, failed)
    values = shown.summary["overall"]["values"]
    assert [values[name] for name in ("requests", "ok", "throttled", "failed")] == [*map(float, terminal)]
    for table in (shown.markdown, shown.html):
        cells = [table[name][0] for name in ("Requests", "OK", "Throttled (429)", "Failed")]
        assert cells == list(terminal)


def test_counts_of_the_whole_run_are_called_so(shown: Shown) -> None:
    whole, accounting = Counter(row["outcome"] for row in shown.run.rows), shown.run.facts["accounting"]
    (suite,) = ElementTree.fromstring(shown.text("junit.xml"))
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert properties["scope"] == "whole run, warm-up and cool-down included"
    assert int(properties["ok"] or 0) == accounting["ok"] == whole["ok"]
    assert int(properties["throttled"] or 0) == accounting["throttled"] == whole["throttled"]
    assert int(properties["sent"] or 0) == accounting["sent"] == whole.total()
    assert "Failures (of the whole run):" in shown.run.output


def test_rates_are_those_of_the_rows(shown: Shown) -> None:
    begin, end = shown.bounds
    ended = [row for row in shown.run.rows if row["outcome"] == "ok"]
    ended = [row for row in ended if begin <= float(row["started_at"]) + float(row["e2e_ms"]) / 1000 <= end]
    tokens = sum(int(row["prompt_tokens"]) + int(row["completion_tokens"]) for row in ended)
    rpm, tpm, sent_rpm = map(shown.per_minute, (len(ended), tokens, len(shown.window)))
    values, delivery = shown.summary["overall"]["values"], shown.run.facts["delivery"]
    assert (values["rpm"], delivery["completed_rpm"]) == pytest.approx((rpm, rpm))
    assert (values["rpm_started"], delivery["started_rpm"]) == pytest.approx((sent_rpm, sent_rpm))
    assert values["rpm_offered"] == pytest.approx(delivery["offered_rpm"])
    assert values["tpm"] == pytest.approx(tpm)
    (terminal,) = re.findall(r"^chat +\d+ +\d+ +\d+ +\d+ +(\S+) +(\S+)$", shown.run.output, re.MULTILINE)
    assert terminal == (f"{rpm:.1f}", f"{tpm:.0f}")
    for table in (shown.markdown, shown.html):
        assert table["RPM completed"] == [f"{rpm:,.0f}"]
        assert table["RPM started"] == [f"{sent_rpm:,.0f}"]
        assert table["TPM total (tokens/min)"] == [f"{tpm:,.0f}"]
    answered = [row for row in shown.window if row["outcome"] == "ok"]
    assert f"{rpm:,.0f} RPM ({len(answered):,} of {len(shown.window):,} sent requests)" in shown.text("report.md")


def test_latencies_are_those_of_the_rows(shown: Shown) -> None:
    (terminal,) = re.findall(r"^chat +(\d+) +(\d+) +(\S+) +(\S+) +(\d+) +(\d+)$", shown.run.output, re.MULTILINE)
    answered = [row for row in shown.window if row["outcome"] == "ok"]
    for place, metric, title in ((0, "ttft_ms", "TTFT (ms)"), (2, "tbt_ms", "TBT (ms)"), (4, "e2e_ms", "E2E (ms)")):
        measured = [float(row[metric]) for row in answered if row[metric]]
        percentiles = shown.summary["overall"]["distributions"][metric]["percentiles"]
        for offset, percent in enumerate((50, 95)):
            exact = percentiles[f"p{percent}"]["value"]
            assert exact == pytest.approx(float(np.percentile(measured, percent)), abs=0.01)
            assert float(terminal[place + offset]) == pytest.approx(exact, abs=0.51 if metric != "tbt_ms" else 0.051)
            for table in (shown.markdown, shown.html):
                cell = table[title][2 + offset].split()[0]
                assert float(cell.replace(",", "")) == pytest.approx(exact, rel=0.006)


def test_criteria_are_judged_by_the_same_values(shown: Shown) -> None:
    found = {each["text"]: each for each in shown.run.facts["criteria"]}
    values = shown.summary["overall"]["values"]
    latencies = shown.summary["overall"]["distributions"]
    expected = {
        "percentage(error) > 90": values["error_pct"],
        "percentage(throttled) > 90": values["throttled_pct"],
        "p95(ttft_ms) > 9000": latencies["ttft_ms"]["percentiles"]["p95"]["value"],
        "p50(e2e_ms) > 9000": latencies["e2e_ms"]["percentiles"]["p50"]["value"],
        "avg(rpm) < 1": values["rpm"],
        "avg(tpm) < 1": values["tpm"],
        "count(throttled) > 1000": values["throttled"],
        "count(requests) < 1": values["requests"],
    }
    assert {text: each["value"] for text, each in found.items()} == pytest.approx(expected, rel=1e-4)
    again = {each["text"]: each for each in shown.summary["judgement"]["criteria"]}
    for text, each in found.items():
        assert (again[text]["state"], again[text]["n"]) == (each["state"], each["n"]) == ("held", each["n"])
        (said,) = [
            line for line in shown.check.splitlines() if line.startswith(f"  held    {text.split(' ')[0]} must be ")
        ]
        assert text.startswith("count(") or said.endswith((f"(n = {each['n']})", f" of {each['n']})")), said


def test_the_verdict_is_one(shown: Shown) -> None:
    verdict = shown.run.facts["verdict"]
    assert shown.check.startswith(f"{verdict['state']}: " if verdict["state"] == "passed" else verdict["state"])
    assert shown.summary["judgement"]["state"] == verdict["state"] == shown.markdown["Verdict"][0].split(",")[0]
    assert f'class="word {verdict["state"]}"' in shown.text("report.html")
    assert f"Verdict: {verdict['state'].upper()} (exit code {verdict['exit_code']})" in shown.run.output
    assert shown.run.process.returncode == verdict["exit_code"] == shown.summary["judgement"]["exit_code"]
