"""Access logs, as real servers wrote them.

The four files were written in front of the simulator while the client of OpenAI's SDK and a few that are no clients of
HTTP called them, on 2026-11-28: nginx 1.22.1 with `NGINX` and with `escape=json` (keys called as the variables), Apache
2.4.71 with `APACHE` (mod_logio), Caddy 2.6.2 with its own JSON. SENT: the bytes of the bodies, as the client counted
them, of the whole chat request, the streamed one, the one of the responses API and one whose user agent has quotes and
a backslash.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tokenswarm.logs.access import access_reader
from tokenswarm.traffic.__main__ import main
from tokenswarm.userinput import BadInput
from tokenswarm.workload.traces import read_trace

HERE = Path(__file__).parent
COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'
)
NGINX = f"{COMBINED} $request_length $request_time $upstream_response_time"
APACHE = r"%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" %I %O"
LENGTHS = {"$request_length": 801, "$request_time": "0.801", "$upstream_response_time": "0.2, 0.601 : -"}
SENT, HEADERS = (175, 1089, 58, 100), (532, 533, 524, 531)
LINE = '10.0.0.1 - - [28/Nov/2026:09:00:00 +0000] "POST /v1/chat/completions HTTP/1.1" 200 40 "-" "x" 801'


def imported(tmp_path: Path, source: Path, *options: str) -> list[tuple[float, int, int | None]]:
    made = tmp_path / "trace.csv"
    assert main(["import", "access", str(source), "-o", str(made), *options]) == 0
    return [(row.offset_s, row.context_tokens, row.max_tokens) for row in read_trace(made)]


def tokens(*lengths: int) -> list[int]:
    return [-(-length // 4) for length in lengths]


@pytest.mark.parametrize(
    ("name", "log_format", "answers"),
    [
        ("access_nginx", NGINX, (599, 3185, 951, 599, 1888, 571)),
        (
            "access_nginx",
            f"log_format timed '{COMBINED}'\n    ' $request_length $request_time $upstream_response_time';",
            (599,),
        ),
        ("access_nginx", NGINX.replace(" $status", "\n    $status"), (599,)),
        ("access_nginx_json", None, (599, 3185, 951, 599, 1888, 571)),
        ("access_apache", APACHE, (610, 3123, 947, 602, 547, 1835)),
        ("access_apache", f'"{APACHE}"', (610,)),
        ("access_apache", f'LogFormat "{APACHE}" combinedio', (610,)),
    ],
)
def test_what_a_server_wrote_is_what_was_sent(
    tmp_path: Path, name: str, log_format: str | None, answers: tuple[int, ...]
) -> None:
    """Neither embeddings, GET, HELLO and what TLS begins with, nor what was answered with 400, 401 and 499."""
    rows = imported(tmp_path, HERE / f"{name}.log", *(["--log-format", log_format] if log_format else []))
    assert len(rows) == 6
    assert [row[1] for row in rows[:4]] == tokens(*map(sum, zip(SENT, HEADERS, strict=True)))
    assert [row[2] for row in rows[: len(answers)]] == tokens(*answers)


def test_caddy_has_the_bytes_of_bodies_and_instants_of_the_end(tmp_path: Path) -> None:
    rows = imported(tmp_path, HERE / "access_caddy.log")
    assert [row[1] for row in rows] == tokens(*SENT)
    assert rows[1][0] == pytest.approx(
        1795889349.058 - 1795889347.8846, abs=0.01
    )  # when the client sent it, by its clock


@pytest.mark.parametrize(
    "line",
    [
        {"StartUTC": "2026-11-29T00:00:01.123456789Z", "RequestMethod": "POST", "RequestPath": "/v1/chat/completions",
         "DownstreamStatus": 200, "RequestContentSize": 801, "DownstreamContentSize": 40, "Duration": 532000000,
         "time": "2026-11-29T00:00:02Z"},
        {"start_time": "2026-11-29T00:00:01.123Z", "method": "POST", "path": "/v1/chat/completions", "duration": 532,
         "response_code": 200, "bytes_received": 801, "bytes_sent": 40},
    ],
)  # fmt: skip
def test_lines_of_traefik_and_envoy_have_the_instant_of_the_beginning(line: dict[str, Any]) -> None:
    """By their documentation; none was at hand to write it."""
    (found,) = access_reader(None)(json.dumps(line).encode())
    assert (found.context_tokens, found.answer_bytes, found.is_end) == (201, 40, False)
    assert found.at_s == pytest.approx(1795910401.123, abs=0.001)


def test_other_servers_lines_are_described_by_variables_of_nginx() -> None:
    """Envoy's own format."""
    line = '[2026-11-29T00:00:01.123Z] "POST /v1/chat/completions HTTP/1.1" 200 - 801 40 532 500 "-" "x" "id"'
    log_format = '[$time_iso8601] "$request" $status $flags $content_length $body_bytes_sent $a $b "$c" "$d" "$e"'
    (found,) = access_reader(log_format)(line.encode())
    assert (found.context_tokens, found.answer_bytes) == (201, 40)
    assert found.at_s == pytest.approx(1795910401.123, abs=0.001)


def test_a_request_began_before_nginx_wrote_its_line(tmp_path: Path) -> None:
    """The second and fourth request, when the client sent them; the line was written 75 and 66 ms after that."""
    rows = imported(tmp_path, HERE / "access_nginx_json.log")
    assert rows[3][0] - rows[1][0] == pytest.approx(1795889338.339 - 1795889337.646, abs=0.005)
    begin = imported(tmp_path, HERE / "access_nginx.log", "--log-format", NGINX)
    assert begin[1][0] - begin[0][0] == pytest.approx(1 - 0.075 + 0.067)


@pytest.mark.parametrize("order", ["$request_length $request_time", "$request_time $request_length",
                                   "$upstream_response_time $request_length"])  # fmt: skip
def test_the_format_says_which_number_is_the_length(tmp_path: Path, order: str) -> None:
    source = tmp_path / "a.log"
    source.write_text(LINE.removesuffix("801") + " ".join(str(LENGTHS[name]) for name in order.split()) + "\n")
    ((_, context, answer),) = imported(tmp_path, source, "--log-format", f"{COMBINED} {order}")
    assert (context, answer) == (201, 10)


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE.removesuffix(" 801"),
        LINE + " 0.061",
        LINE + " 1205",
        '127.0.0.1:51122 [28/Nov/2026:18:09:12.646] f b/s 0/0/1/63/64 200 1050 - - ---- 1/1/0/0/0 0/0 "POST /v1/chat/'
        'completions HTTP/1.1"',
        'INFO:     127.0.0.1:36124 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        '{"time": "2026-11-28T18:08:56+00:00", "request": "POST /v1/chat/completions HTTP/1.1", "status": "200"}',
    ],
    ids=["number", "combined", "time", "numbers", "haproxy", "uvicorn", "json"],
)
def test_a_number_whose_meaning_is_not_told_is_no_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    source = tmp_path / "a.log"
    source.write_text(line + "\n")
    assert main(["import", "access", str(source), "-o", str(tmp_path / "t.csv")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{source}:1: expected ") and "--log-format" in error and "length" in error
    assert not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize(
    ("log_format", "problem"),
    [
        (COMBINED, "the length of the request"),
        (f"{COMBINED} $request_time", "the length of the request"),
        (r"%h %l %u %t \"%r\" %>s %b %D", "the length of the request"),
        ("$request $status $body_bytes_sent $request_length", "a time"),
        ("[$time_local] $status $body_bytes_sent $request_length", "the request"),
        ("%ci:%cp [%tr] %ft %b/%s %ST %B %{+Q}r %U", "variables of nginx or Apache, got '%ci"),
        ('%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s', "variables of nginx or Apache, got '%(h)s"),
        ("combined", "a time"),
        ("", "a time"),
    ],
)
def test_a_format_without_what_is_needed_is_named(log_format: str, problem: str) -> None:
    with pytest.raises(BadInput) as raised:
        access_reader(log_format)
    assert raised.value.problems[0].startswith(f"log-format: expected {problem}")


BAD_LINES = {
    "cut": LINE[:60],
    "cut within the user agent": LINE[:-6],
    "two in one": LINE[:-2] + LINE,
    "without a length": LINE.removesuffix("801") + "-",
    "month of another language": LINE.replace("Nov", "nov."),
    "one more column": LINE + " 0.061",
    "a megabyte": LINE.replace('"x"', '"' + "x\\" * 500_000 + '"') + " 1",
    "NUL": "\0" * 300,
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_that_is_not_as_the_format_says_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    source = tmp_path / "a.log"
    source.write_text(f"{LINE}\n{line}\n")
    options = ["--log-format", f"{COMBINED} $request_length"]
    assert main(["import", "access", str(source), "-o", str(tmp_path / "t.csv"), *options]) == 2
    assert capsys.readouterr().err.startswith(f"{source}:2: expected ")
    assert len(imported(tmp_path, source, *options, "--skip-bad", "1")) == 1


def test_a_last_line_without_its_end_may_be_cut_in_its_last_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a.log"
    source.write_text(f"{LINE}\n{LINE[:-1]}")
    options = ["--log-format", f"{COMBINED} $request_length"]
    assert main(["import", "access", str(source), "-o", str(tmp_path / "t.csv"), *options]) == 2
    assert f"{source}:2: expected the line's end" in capsys.readouterr().err


def test_a_rotated_log_is_read_as_gzip_has_packed_it(tmp_path: Path) -> None:
    source, options = tmp_path / "a.log.2.gz", ["--log-format", f"{COMBINED} $request_length"]
    source.write_bytes(gzip.compress(f"{LINE}\n{LINE}\n".encode()))
    assert len(imported(tmp_path, source, *options)) == 2


def test_order_zones_and_line_ends_make_no_difference(tmp_path: Path) -> None:
    """Two logs one after the other, the clock set back at the end of summer time between them."""
    times = ["25/Oct/2026:02:59:59 +0200", "25/Oct/2026:02:00:01 +0100", "25/Oct/2026:00:59:58 +0000"]
    lines = [LINE.replace("28/Nov/2026:09:00:00 +0000", time) for time in times]
    source = tmp_path / "a.log"
    source.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, ""]).encode())
    assert [row[0] for row in imported(tmp_path, source, "--log-format", f"{COMBINED} $request_length")] == [0, 1, 3]


@pytest.mark.parametrize(("log_format", "count"), [(f"{COMBINED} $request_length", 1), (NGINX, 0), (APACHE, 0)])
def test_instants_of_ends_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], log_format: str, count: int
) -> None:
    source = tmp_path / "a.log"
    source.write_text({NGINX: f"{LINE} 0.2 0.1", APACHE: f"{LINE} 40"}.get(log_format, LINE) + "\n")
    imported(tmp_path, source, "--log-format", log_format)
    assert ("1 of the instants are those of ends" in capsys.readouterr().out) == bool(count)


def test_an_answer_in_bytes_has_as_many_tokens_as_one_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The streamed answer of ten tokens has 3,185 bytes."""
    rows = imported(tmp_path, HERE / "access_nginx.log", "--log-format", NGINX, "--answer-bytes", "300")
    assert rows[1][2] == 11
    assert "300 are taken for a token" in capsys.readouterr().out
