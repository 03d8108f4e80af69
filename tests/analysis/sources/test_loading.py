"""Results of other tools, in files written for these tests in their formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.sources.jmeter_results import outcome
from analysis.sources.loading import load_run
from tokenswarm.record import Outcome
from tokenswarm.userinput import BadInput

JMETER_HEADER = (
    "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,failureMessage,bytes,sentBytes,"
    "grpThreads,allThreads,URL,Latency,IdleTime,Connect"
)


def jmeter_line(at_s: float, elapsed: int, code: str = "200", success: str = "true", message: str = "OK",
                label: str = "HTTP Request") -> str:  # fmt: skip
    stamp = int((1_700_000_040 + at_s) * 1000)
    return f"{stamp},{elapsed},{label},{code},{message},t 1-1,text,{success},,500,300,1,1,null,{elapsed // 2},0,3"


def engine(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join([JMETER_HEADER, *lines]) + "\n")
    return path


def test_azure_load_testing_results_of_several_engines_are_one_run(tmp_path: Path) -> None:
    engine(tmp_path / "engine1_results.csv", [jmeter_line(0, 1000), jmeter_line(60, 3000)])
    engine(tmp_path / "engine2_results.csv", [jmeter_line(30, 2000), jmeter_line(90, 50, "429", "false", "Too Many")])
    run = load_run(tmp_path)
    assert (run.source, len(run.rows)) == ("azure-load-testing", 4)
    summary = summarise(run, "HTTP Request: p50(response_time_ms) > 1499; percentage(error) > 0")
    counts = summary.overall.counts
    assert (counts.sent, counts.ok, counts.throttled, counts.failed) == (4, 3, 1, 0)
    # 50 1000 2000 3000; 25 500 1000 1500
    assert summary.overall.distribution("response_time_ms").percentile("p50").value == 1500.0
    assert summary.overall.distribution("latency").avg.value == 756.25
    # from 0 to 90.05 s
    assert summary.overall.values["rpm"] == pytest.approx(3 / 90.05 * 60)
    assert summary.overall.values["tpm"] is None
    assert [item.state for item in summary.judgement.criteria] == ["failed", "held"]
    assert set(run.rows["worker"]) == {"engine1_results", "engine2_results"}
    assert any("TPM" in line for line in summary.blind_spots)


@pytest.mark.parametrize(
    ("success", "code", "message", "expected"),
    [
        ("true", "200", "OK", Outcome.OK),
        ("TRUE", "200", "OK", Outcome.OK),
        ("false", "429", "", Outcome.THROTTLED),
        ("false", "500", "", Outcome.HTTP_ERROR),
        ("false", "200", "assertion", Outcome.BAD_PAYLOAD),
        ("false", "Non HTTP response code: java.net.SocketTimeoutException", "Read timed out", Outcome.TIMEOUT),
        ("false", "Non HTTP response code: java.net.ConnectException", "refused", Outcome.CONNECTION_ERROR),
        ("false", "", "", Outcome.CONNECTION_ERROR),
    ],
)
def test_outcomes_of_jmeter(success: str, code: str, message: str, expected: Outcome) -> None:
    assert outcome(success, code, message) is expected


def test_a_jtl_with_dates_and_a_cut_last_line(tmp_path: Path) -> None:
    path = tmp_path / "result.jtl"
    path.write_text(
        "timeStamp,elapsed,label,responseCode,success\n"
        "2023/11/14 22:14:00.250,100,Home,200,true\n2023/11/14 22:14:01.250,300,Home,200,true\n2023/11/14 22:"
    )
    run = load_run(path)
    assert (run.source, run.label, len(run.rows), run.skipped_lines) == ("jmeter", "result", 2, 1)
    assert run.rows["started_at"][0] == pytest.approx(1_700_000_040.25, abs=1e-4)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("first", ["", "sep={}\n"])
def test_a_jtl_with_another_delimiter(tmp_path: Path, delimiter: str, first: str) -> None:
    path = tmp_path / "r.jtl"
    lines = [JMETER_HEADER, jmeter_line(0, 1000), jmeter_line(60, 3000, "500", "false")]
    path.write_text(first.format(delimiter) + "\n".join(lines).replace(",", delimiter) + "\n")
    counts = summarise(load_run(path)).overall.counts
    assert (counts.sent, counts.ok, counts.failed) == (2, 1, 1)


HEADERLESS = [
    "{at},4375,HTTP Request,200,OK,text,true,2473,2,2,4000",
    "{at},4375,HTTP Request,200,OK,Thread Group 1-1,text,true,2473,2,2,4000",
    "{at},4375,HTTP Request,200,OK,Thread Group 1-1,text,true,,2473,2,2,4000,0",
    "{at},4375,HTTP Request,200,OK,Thread Group 1-1,text,true,,2473,300,2,2,4000,0,7",
    "{at},4375,HTTP Request,200,OK,Thread Group 1-1,text,true,,2473,300,2,2,http://h/,4000,0,7",
]


@pytest.mark.parametrize("line", HEADERLESS)
@pytest.mark.parametrize("stamps", [("1700000040000", "1700000100000"), ("2023/11/14 22:14:00", "2023/11/14 22:15:00")])
def test_a_jtl_without_a_header(tmp_path: Path, line: str, stamps: tuple[str, str]) -> None:
    path = tmp_path / "old.jtl"
    path.write_text("\n".join(line.format(at=at) for at in stamps) + "\n")
    run = load_run(path)
    summary = summarise(run)
    assert summary.overall.counts.sent == 2
    assert summary.overall.distribution("response_time_ms").avg.value == 4375
    assert summary.overall.distribution("latency").avg.value == 4000
    assert run.rows["started_at"].tolist() == [1_700_000_040, 1_700_000_100]
    assert any("has no header" in note for note in run.notes)


@pytest.mark.parametrize(
    "stamp", ["2023/11/14 22:14:00", "2023-11-14 22:14:00", "2023-11-14T22:14:00", "14.11.2023 22:14:00"]
)
def test_dates_without_fractions(tmp_path: Path, stamp: str) -> None:
    path = tmp_path / "r.jtl"
    path.write_text(f"timeStamp,elapsed,label,responseCode,success\n{stamp},100,Home,200,true\n")
    run = load_run(path)
    assert run.rows["started_at"].tolist() == [1_700_000_040]
    assert any("within one second" in note for note in run.notes)


def test_a_date_that_may_be_two_days_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jtl"
    path.write_text("timeStamp,elapsed,label,responseCode,success\n04/05/2023 22:14:00,100,Home,200,true\n")
    with pytest.raises(BadInput, match="expected timeStamp"):
        load_run(path)


SUBSAMPLES = """timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,failureMessage,bytes,\
sentBytes,grpThreads,allThreads,URL,Latency,IdleTime,Connect
1782418743660,1259,Test,200,"Number of samples in transaction : 1, number",T 1-1,,true,,1,1,1,1,null,0,2,0
1782418743829,1149,Page,200,OK,T 1-1,text,true,,81113,5563,1,1,http://localhost/,248,0,38
1782418743829,264,Page-0,200,OK,T 1-1,text,true,,5132,300,1,1,http://localhost/,248,0,38
1782418744249,5,Page-1,200,OK,T 1-1,text,true,,6360,300,1,1,http://localhost/a.css,4,0,1
1782418744249,5,Page-1,200,OK,T 1-2,text,true,,6360,300,1,1,http://localhost/a.css,4,0,1
1782418749000,5,Page-2,200,OK,T 1-1,text,true,,6360,300,1,1,http://localhost/a.css,4,0,1
"""


def test_sub_samples_and_transactions_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "page.jtl"
    path.write_text(SUBSAMPLES)
    run = load_run(path)
    # Page, and two that only look like a part of it: of another thread, and after its end.
    assert run.rows["name"].tolist() == ["Page", "Page-1", "Page-2"]
    assert "1 transaction left out: the samples in it are counted" in run.notes
    assert "2 sub-samples left out: the sample that it is part of is counted" in run.notes


def test_a_file_appended_over_days_is_doubted(tmp_path: Path) -> None:
    lines = [jmeter_line(at, 1000) for at in (0, 30, 60, 918_000, 918_030, 918_060)]
    summary = summarise(load_run(engine(tmp_path / "r.jtl", lines)))
    assert any("255 h" in line and "several runs" in line for line in summary.warnings)


def test_an_xml_jtl_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "result.jtl"
    path.write_text('<?xml version="1.0"?>\n<testResults version="1.2"></testResults>\n')
    with pytest.raises(BadInput, match="output_format=csv"):
        load_run(path)


def test_jmeter_times_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("timeStamp,elapsed,label,responseCode,success\nnoon,1,a,200,true\n")
    with pytest.raises(BadInput, match="expected timeStamp in ms since 1970"):
        load_run(path)


GOOD = [jmeter_line(at, 500) for at in range(30)]
HELD = "p95(response_time_ms) > 10000; percentage(error) > 1"


@pytest.mark.parametrize(
    "line",
    [
        "garbage",
        "\x00\xff",
        jmeter_line(3, 500).replace(",500,", ",inf,", 1),
        jmeter_line(3, 500).replace(",500,", ",nan,", 1),
        jmeter_line(3, -1),
        jmeter_line(3, 500).replace(",500,", ",,", 1),
        jmeter_line(3, 500).replace(",500,", ',"50000,5",', 1),
        jmeter_line(3, 500, success="yes"),
        jmeter_line(-1_700_000_040 + 1_700_000, 500),  # s where ms are expected
        jmeter_line(3, 500).replace("OK", "a, comma", 1),
    ],
)
def test_a_sample_that_cannot_be_read_is_doubted(tmp_path: Path, line: str) -> None:
    judgement = summarise(load_run(engine(tmp_path / "r.csv", [*GOOD, line])), HELD).judgement
    assert judgement.exit_code == 4 and [str(reason) for reason in judgement.reasons] == ["1 line could not be read"]


def test_files_put_behind_another_keep_their_headers(tmp_path: Path) -> None:
    summary = summarise(load_run(engine(tmp_path / "r.csv", [*GOOD, JMETER_HEADER, *GOOD])), HELD)
    assert (summary.judgement.exit_code, summary.overall.counts.sent) == (0, 60)


@pytest.mark.parametrize("content", [b"", b"\x00\x01\xff" * 50, ("\n".join([JMETER_HEADER, *GOOD])).encode("utf-16")])
def test_a_file_beside_those_of_other_engines_that_cannot_be_read_is_doubted(tmp_path: Path, content: bytes) -> None:
    engine(tmp_path / "engine1_results.csv", GOOD)
    (tmp_path / "engine2_results.csv").write_bytes(content)
    judgement = summarise(load_run(tmp_path), HELD).judgement
    assert judgement.exit_code == 4 and "engine2_results.csv is empty or no text" in str(judgement.reasons[0])


def test_engines_of_different_days_are_no_run(tmp_path: Path) -> None:
    engine(tmp_path / "engine1_results.csv", GOOD)
    engine(tmp_path / "engine2_results.csv", [jmeter_line(86_400, 500), jmeter_line(86_401, 500)])
    judgement = summarise(load_run(tmp_path), HELD).judgement
    assert judgement.exit_code == 4 and "results of several runs" in str(judgement.reasons[0])


LOCUST_STATS = """Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,\
Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%
POST,chat,90,10,1000.0,1200.5,20.0,4100.0,500.0,0.75,0.08,1000,1100,1300,1400,2000,3000,3500,4000,4100,4100,4100
POST,rag,30,0,2000.0,2200.0,900.0,6000.0,100.0,0.25,0.0,2000,2100,2300,2400,3000,4000,5500,6000,6000,6000,6000
,Aggregated,120,10,1100.0,1450.375,20.0,6000.0,400.0,1.0,0.08,1100,1300,1500,1800,2600,3400,4800,5500,6000,6000,6000
"""
LOCUST_HISTORY = """Timestamp,User Count,Type,Name,Requests/s,Failures/s,50%,95%,Total Request Count,\
Total Failure Count,Total Median Response Time,Total Average Response Time,Total Min Response Time,\
Total Max Response Time,Total Average Content Size
1700000040,0,,Aggregated,0.0,0.0,N/A,N/A,0,0,0,0.0,0,0,0
1700000099,5,,Aggregated,1.0,0.0,900,1500,50,2,900,1000.0,20,1500,400.0
1700000150,5,,Aggregated,1.0,0.0,900,1500,110,8,900,1000.0,20,1500,400.0
1700000160,0,,Aggregated,1.0,0.0,1100,3400,120,10,1100,1450.0,20,6000,400.0
"""
LOCUST_FAILURES = """Method,Name,Error,Occurrences,First Seen,Last Seen
POST,chat,"HTTPError('429 Too Many Requests')",7,2023-11-14T22:14:30Z,2023-11-14T22:15:30Z
POST,chat,"HTTPError('500 Server Error, id 14290')",3,2023-11-14T22:14:31Z,2023-11-14T22:15:31Z
"""


def locust_run(tmp_path: Path) -> Path:
    (tmp_path / "out_stats.csv").write_text(LOCUST_STATS)
    (tmp_path / "out_stats_history.csv").write_text(LOCUST_HISTORY)
    (tmp_path / "out_failures.csv").write_text(LOCUST_FAILURES)
    return tmp_path


def test_plain_locust_statistics(tmp_path: Path) -> None:
    run = load_run(locust_run(tmp_path))
    assert (run.source, run.label) == ("locust", "out")
    summary = summarise(run)
    counts = summary.overall.counts
    assert (counts.sent, counts.ok, counts.throttled, counts.failed) == (120, 110, 7, 3)
    # history: 40 s to 160 s, two minutes
    assert summary.window is not None and summary.window.length_s == 120.0
    assert summary.overall.values["rpm"] == 55.0
    # the content size may be bytes: it is no token count
    assert summary.overall.values.get("tpm") is None and summary.overall.values.get("tokens") is None
    assert any("no TPM" in line for line in summary.blind_spots)
    times = summary.overall.distribution("response_time_ms")
    assert (times.n, times.avg.value, times.percentile("p95").value) == (120, 1450.375, 3400.0)
    # 120 requests do not carry a p99.9, whatever Locust prints
    assert times.percentile("p99.9").value is None
    assert list(summary.minutes["started"]) == [50, 60, 10]
    assert list(summary.minutes["failed"]) == [2, 6, 2]


def test_criteria_on_plain_locust_statistics(tmp_path: Path) -> None:
    criteria = (
        "p95(response_time_ms) > 3399; rag: avg(response_time_ms) > 2200; percentage(error) > 2; "
        "count(requests) < 120; p95(ttft_ms) > 1; none: avg(response_time_ms) > 1; avg(requests_per_sec) > 1"
    )
    summary = summarise(load_run(locust_run(tmp_path)), criteria)
    states = [item.state for item in summary.judgement.criteria]
    # errors: 3 of 120 are 2.5 %
    assert states == ["failed", "held", "failed", "held", "no_data", "no_data", "held"]


@pytest.mark.parametrize("cell", ["", "N/A", "nan", "inf", "-5", "1,5", "99", "0.5"])
@pytest.mark.parametrize("column", ["Request Count", "Failure Count"])
def test_counts_that_are_none_are_refused(tmp_path: Path, column: str, cell: str) -> None:
    cell = {"Request Count": "5", "Failure Count": "99"}[column] if cell == "99" else cell
    path = tmp_path / "x_stats.csv"
    header, chat, *others = LOCUST_STATS.splitlines()
    cells = chat.split(",")
    cells[header.split(",").index(column)] = f'"{cell}"'
    path.write_text("\n".join([header, ",".join(cells), *others, ""]))
    with pytest.raises(BadInput, match="expected a Request Count and a Failure Count that is no more"):
        load_run(path)


@pytest.mark.parametrize("twice", [1, 3])
def test_several_statistics_put_together_are_refused(tmp_path: Path, twice: int) -> None:
    lines = LOCUST_STATS.splitlines()
    (tmp_path / "x_stats.csv").write_text("\n".join([*lines, lines[twice], ""]))
    with pytest.raises(BadInput, match="expected as many requests in the line Aggregated as in the others together"):
        load_run(tmp_path)


def test_a_percentile_of_locust_that_too_few_carry_says_so(tmp_path: Path) -> None:
    (tmp_path / "x_stats.csv").write_text(SAME_NAME.replace("PUT,/items,100,0", "PUT,/few,10,0").replace("1000", "910"))
    (judged,) = summarise(load_run(tmp_path), "/few: p95(response_time_ms) > 9000").judgement.criteria
    assert (judged.state, judged.note) == ("no_data", "p95 needs 20 values, there are 10")


SAME_NAME = """Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,\
Max Response Time,Average Content Size,Requests/s,Failures/s,50%,95%,100%
GET,/items,900,90,200,200.0,100.0,900.0,10.0,15.0,1.5,200,800,900
PUT,/items,100,0,50,50.0,40.0,60.0,10.0,1.6,0.0,50,60,60
,Aggregated,1000,90,200,185.0,40.0,900.0,10.0,16.6,1.5,200,800,900
"""


def test_a_name_with_several_methods_keeps_them_all(tmp_path: Path) -> None:
    path = tmp_path / "x_stats.csv"
    path.write_text(SAME_NAME)
    criteria = "/items: percentage(error) > 5; GET /items: percentage(error) > 9.9; PUT /items: percentage(error) > 0"
    summary = summarise(load_run(path), criteria)
    found = [(item.state, item.value, item.n) for item in summary.judgement.criteria]
    assert found == [("failed", 9.0, 1000), ("failed", 10.0, 900), ("held", 0.0, 100)]
    times = summary.by_name["/items"].distribution("response_time_ms")
    assert (times.avg.value, times.min, times.max) == (185.0, 40.0, 900.0)
    assert times.percentile("p95").value is None  # no percentile of the whole follows from those of its parts


@pytest.mark.parametrize("kept", ["out_stats.csv", "out_stats_history.csv"])
def test_one_file_of_locust_alone(tmp_path: Path, kept: str) -> None:
    locust_run(tmp_path)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / kept).write_text((tmp_path / kept).read_text())
    summary = summarise(load_run(alone / kept))
    assert summary.overall.counts.sent == 120
    assert any("429s are among the failures" in note for note in summary.notes)


def test_two_locust_runs_in_one_directory_are_refused(tmp_path: Path) -> None:
    locust_run(tmp_path)
    (tmp_path / "other_stats.csv").write_text(LOCUST_STATS)
    with pytest.raises(BadInput, match="expected the CSVs of one Locust run"):
        load_run(tmp_path)
    assert summarise(load_run(tmp_path / "other_stats.csv")).overall.counts.sent == 120


def benchmark_line(second: int, **more: object) -> dict[str, object]:
    line: dict[str, object] = {
        "run_seconds": second, "timestamp": f"2023-11-14 22:{14 + second // 60:02}:{second % 60:02}", "rpm": 40.0,
        "processing": 2, "completed": second, "failures": second // 10, "throttled": second // 20, "requests": second,
        "tpm": {"context": 20_000.0, "gen": 4_000.0, "total": 24_000.0}, "e2e": {"avg": 2.5, "95th": 4.0},
        "ttft": {"avg": 0.4, "95th": 0.9}, "tbt": {"avg": 0.02, "95th": 0.03}, "gen_tokens": {"avg": 100},
        "util": {"avg": "45.5%", "95th": "60.1%"},
    }  # fmt: skip
    return {**line, **more}


def benchmark_log(path: Path, lines: list[object]) -> Path:
    path.write_text("\n".join(text if isinstance(text, str) else json.dumps(text) for text in lines) + "\n")
    return path


def test_azure_openai_benchmark_log(tmp_path: Path) -> None:
    lines: list[object] = ["2023-11-14 22:14:00 INFO     starting", "not a line {"]
    lines += [benchmark_line(second) for second in (30, 59, 60, 100, 120)]
    run = load_run(benchmark_log(tmp_path / "paygo.log", lines))
    assert (run.source, run.label) == ("azure-openai-benchmark", "paygo")
    summary = summarise(run, "p95(ttft_ms) > 899; p95(e2e_ms) > 4000; percentage(error) > 4")
    counts = summary.overall.counts
    # 12 failures, 6 of them 429s
    assert (counts.sent, counts.ok, counts.throttled, counts.failed) == (120, 108, 6, 6)
    assert summary.overall.values["tpm"] == 24_000
    assert summary.overall.values["rpm"] == 40.0
    ttft = summary.overall.distribution("ttft_ms")
    # 40 a minute over the last minute
    assert (ttft.n, ttft.avg.value, ttft.percentile("p95").value) == (40, 400.0, 900.0)
    assert summary.overall.distribution("e2e_ms").n == 108
    assert summary.overall.distribution("utilization_pct").avg.value == 45.5
    assert [item.state for item in summary.judgement.criteria] == ["failed", "held", "failed"]
    assert list(summary.minutes["started"]) == [59, 41, 20]
    assert any("TTFT" in line and "too low" in line for line in summary.blind_spots)


def test_a_benchmark_that_answered_nothing(tmp_path: Path) -> None:
    gone = {"avg": "n/a", "95th": "n/a"}
    line = benchmark_line(30, completed=3, failures=3, throttled=3, rpm="n/a", e2e=gone, ttft=gone, tbt=gone, util=gone,
                          tpm={"context": "n/a", "gen": "n/a", "total": 0})  # fmt: skip
    summary = summarise(load_run(benchmark_log(tmp_path / "x.jsonl", [line])))
    assert summary.overall.distributions == {}
    assert summary.judgement.state == "failed"


@pytest.mark.parametrize("key", ["completed", "failures", "throttled"])
@pytest.mark.parametrize("value", [None, "n/a", -1, 100, 0.5])
def test_a_benchmark_whose_counts_are_none_is_refused(tmp_path: Path, key: str, value: object) -> None:
    line = benchmark_line(60, **{key: value if key != "completed" or value != 100 else 1})
    with pytest.raises(BadInput, match="expected counts of completed, of them failures, of them throttled, got"):
        load_run(benchmark_log(tmp_path / "x.jsonl", [line]))


def test_two_benchmarks_in_one_log_are_refused(tmp_path: Path) -> None:
    lines = [benchmark_line(60, failures=60), benchmark_line(120), benchmark_line(5), benchmark_line(30)]
    with pytest.raises(BadInput, match="expected the log of one run, whose run_seconds grow, got 5 after 120"):
        load_run(benchmark_log(tmp_path / "x.jsonl", list(lines)))


@pytest.mark.parametrize(
    ("more", "criterion"),
    [
        ({"e2e": {"avg": -2, "95th": -4}}, "p95(e2e_ms) > 10000"),
        ({"rpm": -5}, "avg(rpm) > 5"),
        ({"rpm": "inf"}, "avg(rpm) > 5"),
        ({"tpm": {"total": -1}}, "avg(tpm) > 5"),
    ],
)
def test_figures_of_a_benchmark_that_cannot_be_are_none(tmp_path: Path, more: dict[str, Any], criterion: str) -> None:
    run = load_run(benchmark_log(tmp_path / "x.jsonl", [benchmark_line(120, **more)]))
    assert [judged.state for judged in summarise(run, criterion).judgement.criteria] == ["no_data"]


def test_a_history_of_two_locust_runs_is_refused(tmp_path: Path) -> None:
    lines = LOCUST_HISTORY.splitlines()
    (tmp_path / "x_stats_history.csv").write_text("\n".join([*lines, *lines[1:], ""]))
    with pytest.raises(BadInput, match="expected the history of one run, whose timestamps grow, got 1700000040"):
        load_run(tmp_path)


@pytest.mark.parametrize("cut", [2, 30, 60])
def test_a_cut_line_of_locust_is_doubted(tmp_path: Path, cut: int) -> None:
    (tmp_path / "x_stats_history.csv").write_text(LOCUST_HISTORY[:-cut])
    assert summarise(load_run(tmp_path), "count(requests) < 1").judgement.exit_code == 4


@pytest.mark.parametrize("make", ["locust", "jmeter", "log"])
def test_every_source_makes_the_same_report(tmp_path: Path, make: str, capsys: pytest.CaptureFixture[str]) -> None:
    if make == "locust":
        path = locust_run(tmp_path)
    elif make == "jmeter":
        path = engine(tmp_path / "results.csv", [jmeter_line(0, 1000), jmeter_line(60, 3000)])
    else:
        path = benchmark_log(tmp_path / "x.log", [benchmark_line(60)])
    assert main(["report", str(path), "-o", str(tmp_path / "out")]) == 0
    assert "cannot tell" in capsys.readouterr().out
    assert "cannot tell" in (tmp_path / "out" / "report.md").read_text()
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["blind_spots"] and summary["source"] in ("locust", "jmeter", "azure-openai-benchmark")


HEADS = [JMETER_HEADER, LOCUST_STATS.splitlines()[0], LOCUST_HISTORY.splitlines()[0], json.dumps(benchmark_line(5))]


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(HEADS),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=200),
    st.sampled_from([".csv", ".log"]),
)
def test_garbage_is_a_mistake_of_the_user_or_a_summary(
    tmp_path_factory: pytest.TempPathFactory, head: str, garbage: str, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"x{suffix}"
    path.write_text(f"{head}\n{garbage}\n", newline="")
    try:
        summary = summarise(load_run(path))
    except BadInput as error:
        assert error.problems
        return
    assert isinstance(summary, Summary)
    json.dumps(summary.as_json(), allow_nan=False)
