"""The commands as a user runs them: output, files, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import COMMANDS, main
from analysis.commands.report import output_directory
from analysis.figures.metrics import METRICS, markdown_table
from analysis.findings.summarise import summarise
from analysis.report import exports, markdown, tables
from analysis.report.table import plain
from analysis.sources.loading import load_run
from analysis.sources.newest import newest
from analysis.statistics import Estimate
from tests.analysis.run_directories import T, answered, closed_run, refused, worked_meta, worked_records, write_run
from tokenswarm.metrics import prices
from tokenswarm.record import Outcome
from tokenswarm.redaction import _SERVICE_TEXTS

PRICES = Path(prices.__file__).with_name("prices.toml")
STOP = "auto-stop: more than 90% / 60s of the requests failed"


def run_module(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "analysis", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("criteria", "meta", "code"),
    [
        ("p50(ttft_ms) > 300", {}, 0),
        ("p50(ttft_ms) > 299", {}, 3),
        ("max(tpm) > 379; percentage(error) > 50", {}, 3),
        ("percentage(goodput) < 50", {}, 3),
        ("", {}, 1),
        ("unknown: p50(ttft_ms) > 300", {}, 3),
        ("p95(ttft_ms) > 499", {}, 3),
        ("p95(ttft_ms) > 500", {}, 0),
        ("p50(ttft_ms) > 300", {"generator": {"saturated": True}}, 4),
        ("p50(ttft_ms) > 299", {"generator": {"saturated": True}}, 4),
        ("p50(ttft_ms) > 300", {"accounting": {"planned": 8}}, 4),
        ("p50(ttft_ms) > 300", {"accounting": {"sent": 9}}, 4),
        ("p50(ttft_ms) > 300", {"verdict": {"state": "untrusted", "reasons": ["disk full"]}}, 4),
        ("p50(ttft_ms) > 300", {"state": "running", "ended_at": None}, 3),
        ("p50(ttft_ms) > 300", {"stop_reason": STOP, "verdict": {"state": "failed", "reasons": [STOP]}}, 3),
        ("p50(ttft_ms) > 300", {"stop_reason": STOP, "verdict": {"reasons": [{"kind": "stopped", "text": STOP}]}}, 3),
        ("p50(ttft_ms) > 300", {"state": "interrupted"}, 5),
        ("p50(ttft_ms) > 299", {"state": "interrupted"}, 3),
    ],
)
def test_check_exit_codes(tmp_path: Path, criteria: str, meta: dict[str, Any], code: int) -> None:
    directory = closed_run(tmp_path, options={"failure-criteria": criteria}, **meta)
    assert main(["check", str(directory)]) == code


def test_check_judges_by_other_criteria_and_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = closed_run(tmp_path, criteria=[{"text": "p50(ttft_ms) > 300"}])
    assert main(["check", str(directory)]) == 0
    assert main(["check", str(directory), "--failure-criteria", "chat: avg(e2e_ms) > 1749"]) == 3
    # 1000 1500 2000 2500 without the rag request
    assert "FAILED  chat: avg(e2e_ms) must be at most 1749 ms, was 1750 ms (n = 4)" in capsys.readouterr().out


def test_check_of_several_runs_gives_the_gravest(tmp_path: Path) -> None:
    good = closed_run(tmp_path / "a", options={"failure-criteria": "p50(ttft_ms) > 300"})
    bad = closed_run(tmp_path / "b", options={"failure-criteria": "p50(ttft_ms) > 1"})
    assert main(["check", str(good), str(bad)]) == 3


def test_check_writes_junit(tmp_path: Path) -> None:
    criteria = "p50(ttft_ms) > 299; max(e2e_ms) > 9000; none: avg(ttft_ms) > 1"
    directory = closed_run(tmp_path, options={"failure-criteria": criteria})
    assert main(["check", str(directory), "--junit", str(tmp_path / "out" / "junit.xml")]) == 3
    suite = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")
    failed = {case.get("name"): case.find("failure") for case in suite}
    assert failed["the run can be judged"] is None
    assert failed["max(e2e_ms) > 9000"] is None
    assert failed["p50(ttft_ms) > 299"] is not None
    assert failed["none: avg(ttft_ms) > 1"].get("type") == "no_data"  # type: ignore[union-attr]


def test_junit_of_an_untrusted_run_is_an_error_and_odd_text_is_well_formed(tmp_path: Path) -> None:
    directory = closed_run(tmp_path, test_name='<a&b>\x08"', generator={"saturated": True})
    assert main(["check", str(directory), "--junit", str(tmp_path / "j.xml")]) == 4
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()[0]
    assert suite.get("errors") == "1"
    assert suite.get("name", "").startswith('<a&b>?"')


def test_report_writes_every_file(tmp_path: Path) -> None:
    directory = closed_run(tmp_path, options={"failure-criteria": "p50(ttft_ms) > 1"})
    done = run_module("report", "--no-html", directory)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("report.md", "summary.json", "summary.csv", "minutes.csv", "junit.xml"):
        assert (directory / name).stat().st_size > 0
    assert not list(directory.glob("*.part"))
    assert "FAILED  worked/20231114T221400Z" in done.stdout
    assert "TPM total" in done.stdout


def test_summary_files_have_the_figures(tmp_path: Path) -> None:
    directory = closed_run(tmp_path)
    assert main(["report", "--no-html", str(directory)]) == 0
    lines = list(csv.DictReader(io.StringIO((directory / "summary.csv").read_text())))
    found = {(line["scope"], line["key"], line["metric"], line["aggregation"]): line["value"] for line in lines}
    assert float(found["run", "", "tpm", "rate"]) == pytest.approx(800 / 3)
    assert float(found["name", "rag", "e2e_ms", "avg"]) == 5000.0
    assert found["run", "", "e2e_ms", "p95"] == ""
    minutes = list(csv.DictReader(io.StringIO((directory / "minutes.csv").read_text())))
    assert [line["minute_utc"] for line in minutes] == [f"2023-11-14T22:{minute}:00Z" for minute in (14, 15, 16)]
    assert [line["tokens"] for line in minutes] == ["300.0", "380.0", "120.0"]
    assert json.loads((directory / "summary.json").read_text())["overall"]["counts"]["sent"] == 8


def test_report_of_several_runs_stands_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = closed_run(tmp_path / "a"), closed_run(tmp_path / "b", test_name="second")
    assert main(["report", "--no-html", str(one), str(other)]) == 0
    out = capsys.readouterr().out
    assert re.search(r" worked +second *\n", out)
    assert len(json.loads((tmp_path / "report" / "summary.json").read_text())) == 2
    assert main(["report", "--no-html", str(one), str(other), "-o", str(tmp_path / "here")]) == 0
    assert (tmp_path / "here" / "report.md").exists()
    assert output_directory([load_run(one)]) == one


KEY = "sk-PLANTED0123456789abcdef"


def planted_run(directory: Path) -> Path:
    """The worked run of a service that tells a key back in every text of its own, before rows were redacted."""
    texts = dict.fromkeys((*_SERVICE_TEXTS, "name", "target", "question_id"), f"said {KEY}")
    records = [
        replace(record, **(texts if record.outcome is not Outcome.OK else {**texts, "error": None}))
        for record in worked_records()
    ]
    said = {"verdict": {"state": "untrusted", "reasons": [{"kind": "other", "text": KEY}]}, "stop_reason": KEY}
    options = {"failure-criteria": "p95(ttft_ms) > 1; percentage(error) > 1", "deployment": KEY}
    return write_run(directory, records, worked_meta(options=options, warnings=[KEY], **said))


def test_a_key_that_a_service_told_back_is_in_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (str(planted_run(tmp_path / "worked" / f"20231114T22140{at}Z")) for at in (0, 1))
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(out / "step.md"))
    assert main(["report", a, b, "--output", str(out), "--step-summary"]) == 0
    assert main(["check", a, "--junit", str(out / "check.xml")]) == 4
    assert main(["compare", a, b, "--html", str(out / "comparison.html")]) == 0
    assert main(["compare", a, b, "--format", "json"]) == 0
    assert main(["history", str(tmp_path), "--format", "markdown"]) == 0
    workbook = zipfile.ZipFile(out / "report.xlsx")
    written = {path.name: path.read_text() for path in out.iterdir() if path.suffix != ".xlsx"}
    written |= {name: workbook.read(name).decode() for name in workbook.namelist()}
    written["terminal"] = "".join(capsys.readouterr())
    assert [name for name, text in written.items() if "PLANTED" in text] == []
    assert all("***" in written[name] for name in ("terminal", "step.md", "report.md", "report.html", "summary.json"))


def test_step_summary_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = closed_run(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert main(["check", str(directory), "--step-summary"]) == 1
    assert page.read_text().startswith("before\n# Load test: worked/20231114T221400Z")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    assert main(["check", str(directory), "--step-summary"]) == 2


def test_check_says_what_is_doubtful_about_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [answered(str(n), n, 100, 1000, 10, doubts="no visible text") for n in range(3)]
    directory = write_run(tmp_path / "r", records, worked_meta(accounting={}))
    assert main(["check", str(directory), "--failure-criteria", "p50(e2e_ms) > 1000"]) == 0
    assert "  warning: 3 answers are doubtful: no visible text (tokens were counted" in capsys.readouterr().out


@pytest.mark.parametrize("records", [None, [], [refused("c", 0, Outcome.TIMEOUT, error="=1+1")]])
def test_report_of_a_crash_an_empty_run_and_a_failure(tmp_path: Path, records: list[Any] | None) -> None:
    directory = write_run(tmp_path / "r", records, {"schema_version": 1, "state": "running", "started_at": T})
    done = run_module("report", directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("FAILED")
    assert "failed" in (directory / "report.html").read_text()
    assert main(["check", str(directory)]) == 3


def test_mistakes_are_told_without_a_traceback(tmp_path: Path) -> None:
    for arguments in (
        ["report", tmp_path / "none"],
        ["check", tmp_path],
        ["check", closed_run(tmp_path / "x"), "--failure-criteria", "p95(nothing) > 1; p50(ttft_ms) >"],
        ["recover", tmp_path / "none"],
        ["report", closed_run(tmp_path / "y"), "--no-html", "-o", "/proc/none"],
        ["nonsense"],
        [],
    ):
        done = run_module(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr, arguments
        assert "expected" in done.stderr or "usage:" in done.stderr or "invalid choice" in done.stderr, arguments


def test_the_newest_run_is_meant_when_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["report"], ["check"], ["compare"], ["export", "--parquet", "x.parquet"]):
        assert main(command) == 2
        assert "(run a scenario, or name the runs)" in capsys.readouterr().err
    names = ("a/20260101T000000Z", "b/20260103T000000Z", "b/20260102T000000Z")
    records, meta = worked_records(), worked_meta(accounting={})
    _, last, before = (write_run(tmp_path / "results" / name, records, meta) for name in names)
    assert [path.resolve() for path in newest(2)] == [before, last]
    assert main(["check", "--junit", "j.xml"]) == main(["check", str(last)])
    assert main(["report", "--no-html", "--price-table", str(PRICES)]) == 0 and (last / "report.md").exists()
    assert main(["compare", "--format", "json", "--all"]) == main(["compare", str(before), str(last)])
    assert main(["compare", "--save-baseline", "main.json"]) == 0 and Path("main.json").exists()
    assert main(["compare", "--baseline", "main.json"]) == 2  # the same run
    assert main(["compare", "--save-baseline", "main.json", str(before)]) == 0
    assert main(["compare", "--baseline", "main.json"]) == 0
    assert main(["export", "--parquet", "x.parquet"]) == 0
    assert main(["history", "--format", "json"]) == main(["history", "--format", "json", "results"]) == 0


@pytest.mark.parametrize("command", ["report", "check", "compare", "history", "export"])
def test_help_shows_that_a_run_need_not_be_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert usage.endswith(("[RUN ...]", "[RUN]", "[DIR]"))


def test_what_a_terminal_has_no_sign_for_is_no_traceback(tmp_path: Path) -> None:
    directory = closed_run(tmp_path / "größe", test_name="größe")
    for encoding in ("ascii", "cp1252"):
        command = [sys.executable, "-m", "analysis", "report", "--no-html", str(directory)]
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert ("gr??e" if encoding == "ascii" else "größe").encode(encoding) in done.stdout


def test_output_that_nobody_reads_any_more_is_no_error(tmp_path: Path) -> None:
    directory = closed_run(tmp_path)
    command = f"{sys.executable} -m analysis metrics --markdown | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=os.getcwd())
    assert (done.returncode, done.stderr) == (0, "")
    assert directory.exists()


def test_every_command_has_a_module() -> None:
    import importlib.util

    for command in COMMANDS.values():
        assert importlib.util.find_spec(command.module) is not None


def test_metrics_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert out == markdown_table()
    assert out.count("\n") == len(METRICS) + 2
    assert main(["metrics"]) == 0


def test_metrics_are_defined_completely() -> None:
    for metric in METRICS.values():
        assert metric.definition and metric.formula and metric.title
        assert metric.better in ("lower", "higher", None)
        assert metric.kind in ("count", "total", "rate", "share", "distribution")


def test_markdown_is_escaped(tmp_path: Path) -> None:
    name = "<script>alert(1)</script> | [x](http://evil) @someone `code` #1"
    records = [answered("a", 0, 1, 2, 3, name=name), answered("b", 1, 1, 2, 3, name="*b*")]
    run = load_run(write_run(tmp_path / "r", records, worked_meta(test_name=name, accounting={})))
    text = markdown.render([summarise(run)])
    assert "<script" not in text
    assert "@someone" not in text
    assert "http://" not in text
    assert "[x]" not in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    unescaped = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
    assert set(unescaped) <= {3, 4, 5, 8, 13, 11, 6}


def test_cells_that_a_spreadsheet_would_run_are_neutralised(tmp_path: Path) -> None:
    records = [answered("a", 0, 1, 2, 3, name='=HYPERLINK("http://evil")'), answered("b", 1, 1, 2, 3, name="-1+1")]
    run = load_run(write_run(tmp_path / "r", records, worked_meta(test_name="@SUM(A1)", accounting={})))
    for text in (exports.summary_csv([summarise(run)]), exports.minutes_csv([summarise(run)])):
        for row in csv.reader(io.StringIO(text)):
            assert not any(cell.startswith(("=", "@", "+")) for cell in row)
            assert not any(cell.startswith("-") and not re.fullmatch(r"-[\d.e+-]+", cell) for cell in row)
    assert exports.neutralise(-1.5) == -1.5


def test_chart_only_where_it_helps(tmp_path: Path) -> None:
    short = summarise(load_run(write_run(tmp_path / "s", worked_records()[:2], worked_meta(ended_at=T + 40))))
    assert markdown.chart(short) == []
    whole = summarise(load_run(closed_run(tmp_path, quota={"tpm": 1000})))
    chart = "\n".join(markdown.chart(whole))
    assert "bar [300, 380, 120]" in chart
    assert "line [600, 600, 400]" in chart
    assert "line [1000, 1000, 1000]" in chart


SEARCH = {
    "levels": [
        {"rate_rpm": 10.0, "holds": True, "completed_rpm": 9.9, "tpm": 1500.0, "n": 10, "breaks": []},
        {
            "rate_rpm": 20.0,
            "holds": False,
            "completed_rpm": 12.0,
            "tpm": None,
            "n": 20,
            "breaks": ["p50(ttft_ms) > 299"],
        },
    ],
    "answer_rpm": 10.0,
    "sentence": "This deployment carries 10 RPM.",
}


def test_a_search_is_judged_at_the_level_it_answers_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole run breaks its criteria on purpose: 300 ms is above 299."""
    judged = [{"text": "p50(ttft_ms) > 299", "state": "held", "value": 120.0, "n": 10, "note": ""}]
    directory = closed_run(
        tmp_path, options={"failure-criteria": "p50(ttft_ms) > 299"}, search=SEARCH, criteria=judged,
        delivery={"delivered_pct": 60.0},
    )  # fmt: skip
    assert main(["check", str(directory)]) == 0
    assert main(["check", str(directory), "--failure-criteria", "p50(ttft_ms) > 299"]) == 3
    assert main(["report", "--no-html", str(directory)]) == 0
    out = capsys.readouterr().out
    assert "This deployment carries 10 RPM." in out
    assert "p50(ttft\\_ms)" in (directory / "report.md").read_text()


def test_a_search_that_judged_nothing_has_failed(tmp_path: Path) -> None:
    directory = closed_run(tmp_path, options={"failure-criteria": "p50(ttft_ms) > 299"}, search={"levels": []})
    assert main(["check", str(directory)]) == 3


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(None, 1.0, 2.0), "–"),
        (Estimate(1234.4, 1200.0, 1300.0), "1,234 [1,200–1,300]"),
        (Estimate(50.0, 40.04, None), "50 [≥ 40.0]"),
        (Estimate(5.0, None, 6.0), "5 [≤ 6]"),
        (Estimate(5.0), "5"),
    ],
)
def test_figures_as_people_read_them(estimate: Estimate, text: str) -> None:
    assert plain(tables.format_estimate(estimate)) == text
