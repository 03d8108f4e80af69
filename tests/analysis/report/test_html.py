from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from analysis.compare.comparison import compare
from analysis.compare.gate import parse_gates
from analysis.compare.measures import measure
from analysis.compare.page import render_comparison
from analysis.figures.formats import short_labels
from analysis.figures.knee import Knee
from analysis.figures.levels import LevelFigures, LevelSpan
from analysis.findings.load_curve import CurveLevel, LoadCurve
from analysis.findings.summarise import summarise
from analysis.findings.sweep import SweepCurve
from analysis.report.html import render
from analysis.report.sweep_page import render_page
from analysis.sources.loading import load_run
from analysis.statistics import Estimate
from tests.analysis.synthetic import START, make_records, write_run
from tokenswarm.record import Outcome, RequestRecord

HOSTILE = "<script>document.title='owned'</script>{{body}}</style>\u2028"


def page_of(*paths: Path, criteria: str | None = None) -> str:
    runs = [load_run(path) for path in paths]
    return render(runs, [summarise(run, criteria) for run in runs])


def without_plotly(page: str) -> str:
    """The page less its copy of plotly.js, which is full of addresses that it never asks for."""
    return re.sub(r"<script nonce=\"\w+\">/\*\*.*?</script>", "", page, count=1, flags=re.DOTALL)


def specs_of(page: str) -> dict[str, Any]:
    found = re.search(r"^const plots = (.*);$", page, flags=re.MULTILINE)
    assert found
    specs: dict[str, Any] = json.loads(found[1])
    return specs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    busy = list(make_records(seed=1, rpm=200, throttled=0.1, failed=0.02, dropped=0.01, utilization=True))
    quota = {"tpm": 800_000, "rpm": 200, "ptu": 100}
    window = {"warm_up_s": 20, "cool_down_s": 10}
    write_run(root / "busy", busy, quota=quota, window=window, options={"goodput": "ttft_ms<1000"})
    write_run(root / "other", list(make_records(seed=2)))
    write_run(root / "rag", list(make_records(seed=3, rag=True, turns=3)))
    return root


def test_the_answer_comes_first_and_sections_are_linked(runs):
    page = page_of(runs / "busy", criteria="p95(ttft_ms) > 100")
    body = page[page.index("<main>") :]
    order = ['class="verdict failed', "must be at most 100 ms, was", 'class="tiles"', 'id="plot-answer"', "<nav>"]
    order += [f'<section id="{name}">' for name in ("latency", "quota", "requests", "trust", "configuration")]
    places = [body.index(text) for text in order]
    assert places == sorted(places)
    assert body.index("Load delivered: 100.0 %") > body.index('id="trust"')
    assert set(re.findall(r'href="#(\w+)"', body)) == set(re.findall(r'<section id="(\w+)">', body))


def test_every_plot_has_its_place_and_is_valid_plotly(runs):
    page = page_of(runs / "busy", criteria="p95(ttft_ms) > 1000; avg(rpm) < 10")
    specs = specs_of(page)
    assert {
        "plot-rpm", "plot-tpm", "plot-ttft-ms-time", "plot-tbt-ms-time", "plot-e2e-ms-time", "plot-in-flight",
        "plot-utilization", "plot-ttft-ms-percentiles", "plot-tbt-ms-percentiles",
        "plot-e2e-ms-percentiles", "plot-ttft-ms-prompt-tokens", "plot-e2e-ms-completion-tokens",
    } <= set(specs)  # fmt: skip
    for place, spec in specs.items():
        assert f'id="{place}"' in page
        go.Figure(spec)  # raises for a property that plotly does not know


def test_quota_and_criteria_are_lines_in_the_plots(runs):
    specs = specs_of(page_of(runs / "busy", criteria="p95(ttft_ms) > 1000"))
    assert [shape["y0"] for shape in specs["plot-tpm"]["layout"]["shapes"] if shape["type"] == "line"] == [800_000]
    assert "fails if p95 &gt; 1,000" in [note["text"] for note in specs["plot-ttft-ms-time"]["layout"]["annotations"]]


def test_warm_up_and_cool_down_are_shaded(runs):
    shapes = specs_of(page_of(runs / "busy"))["plot-rpm"]["layout"]["shapes"]
    assert [shape["type"] for shape in shapes].count("rect") == 2


def test_figures_are_those_of_the_summary(runs):
    page = page_of(runs / "other")
    summary = summarise(load_run(runs / "other"))
    p95 = summary.overall.distribution("ttft_ms").percentile("p95").value
    assert p95 is not None
    assert f"{p95:,.0f}" in page
    assert f"{summary.overall.values['tpm']:,.0f}" in page


def test_slowest_requests_have_the_ids_that_support_asks_for(runs):
    page = page_of(runs / "other")
    run = load_run(runs / "other")
    slowest = run.rows.loc[run.rows["e2e_ms"].idxmax()]
    ids = re.findall(r'<td class="text mono">(apim-[^<]+)</td>', page)
    assert len(ids) == 20
    lines = (runs / "other" / "requests.csv").read_text().splitlines()
    assert ids[0] in lines[1 + int(slowest["line"])]


def test_failures_are_counted_by_kind(runs):
    page = page_of(runs / "busy")
    assert "Refused and failed, by kind" in page
    assert "502 Bad Gateway" in page and "429 RateLimitReached" in page


def test_turns_and_stages_are_broken_down(runs):
    page = page_of(runs / "rag")
    assert "By turn of the conversation" in page
    assert "retrieval" in page and "plot-stages" in specs_of(page)


def test_runs_stand_side_by_side(runs):
    page = page_of(runs / "other", runs / "rag", criteria="p95(e2e_ms) > 1")
    assert page.count('class="verdict failed"') == 2
    assert len(specs_of(page)["plot-in-flight"]["data"]) == 2
    assert '<th scope="col">other</th><th scope="col">rag</th>' in page


@pytest.mark.parametrize("where", ["error", "name", "test_name", "scenario", "option", "request_id", "host", "stage"])
def test_text_of_a_run_stays_text(tmp_path, where):
    fields: dict[str, Any] = {where: HOSTILE} if where in ("error", "name", "request_id") else {}
    if where == "stage":
        fields = {"stages": "<b>owned</b>=5.0"}
    outcome = Outcome.HTTP_ERROR if where == "error" else Outcome.OK
    record = RequestRecord(call_id="c1", started_at=1_783_500_000.0, e2e_ms=10.0, outcome=outcome, **fields)
    meta: dict[str, Any] = {
        "test_name": {"test_name": HOSTILE}, "scenario": {"scenario": {"path": HOSTILE, "text": HOSTILE}},
        "option": {"options": {"system-prompt": HOSTILE}}, "host": {"target": {"host": HOSTILE, "deployment": HOSTILE}},
    }.get(where, {})  # fmt: skip
    page = page_of(write_run(tmp_path / "run", [record], **meta))
    assert "<script>document" not in page and "<b>owned" not in page
    assert page.count("</style>") == page.count("<style>")
    assert page.count("<main>") == 1
    assert page.count("</script>") == 2


def test_hostile_label_stays_text_in_plots(tmp_path):
    paths = [write_run(tmp_path / name, list(make_records(seed=1))[:40], test_name=HOSTILE + name) for name in "ab"]
    page = page_of(*paths)
    assert "<script>document" not in page
    for spec in specs_of(page).values():
        for trace in spec["data"]:
            assert "<script" not in trace["name"]


def test_page_asks_for_nothing(runs):
    page = without_plotly(page_of(runs / "busy", runs / "rag"))
    assert re.findall(r"(?:src|href|action)\s*=\s*(?!\"#)", page) == []
    assert "default-src 'none'" in page
    assert "url(" not in page and "@import" not in page


def crashed(root: Path) -> Path:
    """A run without run.json whose last line was cut."""
    path = write_run(root / "crashed", list(make_records(seed=5))[:50])
    (path / "run.json").unlink()
    csv = path / "requests.csv"
    csv.write_text(csv.read_text()[:-40])
    return path


def only_failures(root: Path) -> Path:
    records = [
        RequestRecord(
            call_id=f"c{n}",
            started_at=1_783_500_000.0 + n,
            e2e_ms=5.0,
            outcome=Outcome.CONNECTION_ERROR,
            error="refused",
        )
        for n in range(30)
    ]
    return write_run(root / "failures", records)


def one_request(root: Path) -> Path:
    return write_run(root / "one", list(make_records(seed=5))[:1])


def dropped_only(root: Path) -> Path:
    records = [
        RequestRecord(call_id=f"c{n}", scheduled_at=1_783_500_000.0 + n, outcome=Outcome.DROPPED) for n in range(9)
    ]
    return write_run(root / "dropped", records)


@pytest.mark.parametrize("make", [crashed, only_failures, dropped_only])
def test_poor_runs_give_a_clear_page_and_fail(tmp_path, make):
    page = page_of(make(tmp_path))
    assert 'class="verdict failed"' in page or 'class="verdict untrusted"' in page
    assert "nan" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL).lower().split()


def test_empty_run_gives_a_clear_page(tmp_path):
    page = page_of(write_run(tmp_path / "empty", []))
    assert "nothing was measured" in page
    assert specs_of(page) == {}


def test_single_request_gives_a_page(tmp_path):
    assert "plot-rpm" in specs_of(page_of(one_request(tmp_path)))


def test_same_runs_give_the_same_page(runs):
    assert page_of(runs / "busy") == page_of(runs / "busy")


def test_page_is_one_copy_of_plotly_and_little_else(tmp_path):
    page = page_of(write_run(tmp_path / "run", list(make_records(rpm=3000, minutes=5))))
    assert len(without_plotly(page)) < 300_000
    assert len(page.encode()) < 1_500_000
    assert page.count("plotly.js (basic") == 1


def test_labels_lose_what_all_share():
    assert short_labels(["x/a/1", "x/a/2"]) == ["1", "2"]
    assert short_labels(["x/1", "y/1"]) == ["x", "y"]
    assert short_labels(["x/1", "x/2", "y/1"]) == ["x/1", "x/2", "y/1"]
    assert short_labels(["only/one"]) == ["only/one"]
    assert short_labels(["t/20261128T084213Z", "t/20261128T091500Z"]) == ["08:42:13", "09:15:00"]
    assert short_labels(["t/20261128T084213Z", "t/20261129T084213Z"]) == ["20261128T084213Z", "20261129T084213Z"]


def comparison_page(runs: Path) -> str:
    a, b = (measure(name, [load_run(runs / name)]) for name in ("other", "rag"))
    gates = parse_gates(["avg(ttft_ms) worse > 10 %"])
    return render_comparison(compare(a, b, gates=gates, force=True))


def test_comparison_page_says_the_verdict_and_draws_both(runs):
    page = comparison_page(runs)
    assert 'class="verdict passed"' in page or 'class="verdict failed"' in page
    for spec in specs_of(page).values():
        go.Figure(spec)
    assert [trace["name"] for trace in specs_of(page)["plot-ttft-ms-percentiles"]["data"]] == ["A", "B"]


SEARCH = {
    "answer_rpm": 240.0,
    "answer_tpm": 50_000.0,
    "sentence": "sustains 240 RPM / 50K TPM with p95(ttft_ms) < 900; at 480 RPM p95(ttft_ms) reaches 950",
    "levels": [
        {"rate_rpm": rate, "holds": rate < 300, "completed_rpm": rate * 0.9, "n": 50, "breaks": [],
         "begin": START + 60 * at, "end": START + 60 * at + 60,
         "criteria": [{"text": "p95(ttft_ms) > 900", "state": "held", "value": rate * 2.0, "n": 50}]}
        for at, rate in enumerate((480.0, 120.0, 240.0))
    ],
}  # fmt: skip


def traces_of(page: str) -> dict[str, Any]:
    return {trace["name"]: trace for trace in specs_of(page)["plot-answer"]["data"]}


def test_the_plot_of_a_search_is_its_levels_over_load(tmp_path):
    options = {"search": "120..480", "failure-criteria": "p95(ttft_ms) > 900"}
    page = page_of(write_run(tmp_path / "run", list(make_records(rpm=200)), search=SEARCH, options=options))
    traces = traces_of(page)
    answered = traces["answered"]
    assert answered["x"] == [120.0, 240.0, 480.0]
    assert all(150 < rpm < 250 for rpm in answered["y"])  # 200 were offered, whatever the search says
    assert len(set(answered["marker"]["color"][:2])) == 1 and len(set(answered["marker"]["color"])) == 2
    assert all(value > 400 for value in traces["TTFT p95, ms (right)"]["y"])
    assert "criteria held up to 240 RPM" in [
        note["text"] for note in specs_of(page)["plot-answer"]["layout"]["annotations"]
    ]
    assert "sustains 240 RPM / 50K TPM" in page and ">240 RPM<" in page


def test_the_plot_of_steps_is_over_the_load_of_each_span(tmp_path):
    slow = list(make_records(seed=1, rpm=60, minutes=2))
    fast = [
        dataclasses.replace(record, scheduled_at=record.scheduled_at + 120, started_at=record.started_at + 120)
        for record in make_records(seed=2, rpm=600, minutes=2)
    ]
    page = page_of(write_run(tmp_path / "run", [*slow, *fast], options={"rate-stages": "2m:60,2m:600"}))
    answered = traces_of(page)["answered"]
    assert min(answered["x"]) < 120 and max(answered["x"]) > 400
    assert answered["x"] == sorted(answered["x"])
    go.Figure(specs_of(page)["plot-answer"])


def test_the_plot_of_a_soak_is_a_heatmap_whose_cells_hold_every_answer(tmp_path):
    records = list(make_records(rpm=60, minutes=32))
    page = page_of(write_run(tmp_path / "run", records))
    spec = specs_of(page)["plot-answer"]
    assert sum(count for trace in spec["data"] for count in trace["customdata"]) == len(records)
    assert {trace["type"] for trace in spec["data"]} == {"bar"}
    go.Figure(spec)


def test_the_plot_of_constant_load_has_what_was_refused_and_the_quota(runs):
    page = page_of(runs / "busy")
    assert {"offered", "completed", "throttled"} == set(traces_of(page))
    notes = [note["text"] for note in specs_of(page)["plot-answer"]["layout"]["annotations"]]
    assert "RPM quota 200" in notes and any(note.startswith("TPM quota admits") for note in notes)


def test_several_runs_are_a_trend_and_columns_with_their_change(runs):
    page = page_of(runs / "other", runs / "rag")
    assert traces_of(page)["E2E p95"]["x"] == ["other", "rag"]
    first, second = (summarise(load_run(runs / name)).overall.values["rpm"] for name in ("other", "rag"))
    assert first and second
    change = f"{100 * (second - first) / first:+.0f} %".replace("-", "−")
    assert f"<small>{change}</small>" in page


HARNESS = """<!doctype html><body style="margin:0">{frames}<pre id=out></pre><script>
const frames = [...document.querySelectorAll("iframe")];
const places = (frame) => [...frame.contentDocument.querySelectorAll(".plot")];
const drawn = (frame) => places(frame).length && places(frame).every((place) => place.dataset.drawn);
const describe = (frame) => ({{
  title: frame.contentDocument.title,
  plots: places(frame).length,
  paper: frame.contentWindow.getComputedStyle(frame.contentDocument.body).backgroundColor,
  page: frame.contentDocument.documentElement.scrollWidth,
  outside: places(frame).flatMap((place) => {{
    const area = place.querySelector(".nsewdrag").getBoundingClientRect();
    const paper = place.querySelector(".main-svg").getBoundingClientRect();
    const isIn = (box, room) =>
      box.left >= room.left && box.right <= room.right && box.top >= room.top && box.bottom <= room.bottom;
    const texts = (which) => [...place.querySelectorAll(which)].map((text) => [text, text.getBoundingClientRect()]);
    const cut = [...texts(".textpoint text").filter(([, box]) => !isIn(box, area)),
                 ...texts(".annotation-text").filter(([, box]) => !isIn(box, paper))];
    return cut.map(([text]) => text.textContent);
  }}),
  labels: places(frame).flatMap((place) => [...place.querySelectorAll(".textpoint text")].map((t) => t.textContent)),
  widest: Math.max(...places(frame).map((place) => place.querySelector(".main-svg").getBoundingClientRect().right)),
}});
const look = () => {{
  if (!frames.every((frame) => frame.contentDocument && drawn(frame))) return setTimeout(look, 50);
  document.getElementById("out").textContent = JSON.stringify(frames.map(describe));
}};
addEventListener("load", look);
</script>"""


def open_in_chromium(directory: Path, dark: bool, pages: Sequence[tuple[str, int]]) -> tuple[list[dict[str, Any]], str]:
    """What pages of a given width look like once all plots are drawn, and what the browser logged."""
    frames = []
    for number, (page, width) in enumerate(pages):
        (directory / f"page{number}.html").write_text(page, encoding="utf-8")
        frames.append(f'<iframe src="page{number}.html" width={width} height=900 style="border:0"></iframe>')
    harness = directory / "harness.html"
    harness.write_text(HARNESS.format(frames="".join(frames)), encoding="utf-8")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "expected Chromium on the path"
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", f"--user-data-dir={directory / 'profile'}",
            "--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=60000",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=1400,1000", "--dump-dom",
            harness.as_uri(),
        ],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    found = re.search(r"<pre id=\"out\">(\[.*?\])</pre>", done.stdout, flags=re.DOTALL)
    assert found, f"the plots were not drawn: {done.stderr[-2000:]}"
    return json.loads(html.unescape(found[1])), done.stderr


def crowded_page() -> str:
    """Levels whose points lie at the edges of the plot, and at one place."""
    made = [
        (60, 5.0, 60.0),
        (120, 210.0, 58.0),
        (1200, 400.0, 0.5),
        *((load, 400.0, 40.0) for load in range(1201, 1206)),
    ]
    levels = [
        CurveLevel(
            label=f"{load} sessions/min",
            figures=LevelFigures(
                span=LevelSpan(load, 0.0, 60.0),
                sent=60,
                ok=60,
                failed=0,
                throttled=0,
                dropped=0,
                rpm=60.0,
                tokens_per_s=total,
                per_user=Estimate(each),
                ttft_p95=Estimate(100.0),
                tbt_p95=Estimate(25.0),
                e2e_p95=Estimate(900.0),
            ),
            holds=True,
        )
        for load, total, each in made
    ]
    curve = LoadCurve(unit="sessions/min", levels=levels, knee=Knee(1203, 1202, 1204, 100.0))
    return render_page("crowded", [], [SweepCurve("", curve)])


@pytest.mark.browser
def test_light_pages_in_a_browser(runs, tmp_path):
    page = page_of(runs / "busy", criteria="p95(ttft_ms) > 1000")
    records = list(make_records(seed=1, failed=0.1, error=HOSTILE))[:60]
    hostile = page_of(write_run(tmp_path / "run", records, test_name=HOSTILE))
    shown = [(page, 1280), (hostile, 800), (crowded_page(), 1280)]
    [seen, hostile_seen, crowded], log = open_in_chromium(tmp_path, False, shown)
    assert seen["outside"] == crowded["outside"] == [] and len(crowded["labels"]) == 8
    assert "CONSOLE" not in log
    assert seen["plots"] == len(specs_of(page))
    assert max(seen["page"], seen["widest"]) <= 1280
    assert seen["paper"] == "rgb(255, 255, 255)"
    assert "<script>" in hostile_seen["title"]


@pytest.mark.browser
def test_dark_pages_on_a_phone(runs, tmp_path):
    pages = [page_of(runs / "busy", criteria="p95(ttft_ms) > 1000"), comparison_page(runs)]
    [*seen, crowded], log = open_in_chromium(tmp_path, True, [(page, 390) for page in [*pages, crowded_page()]])
    assert crowded["outside"] == [] and crowded["widest"] <= 390
    assert "CONSOLE" not in log
    for found, page in zip(seen, pages, strict=True):
        assert found["plots"] == len(specs_of(page))
        assert max(found["page"], found["widest"]) <= 390
        assert found["paper"] == "rgb(18, 21, 27)"
