"""The locustfile of docs/own-api.md, as it is written there, in a real Locust process."""

from __future__ import annotations

import csv
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.scripted_server import Action, scripted_server
from tokenswarm.record import Outcome, RequestRecord

ROOT = Path(__file__).resolve().parents[2]
KEY = "llama-key-3141592653"
MAX_LINES = 45
"""Of an API that a user writes, imports and blank lines left out."""


def line(content: str, **more: object) -> bytes:
    body = {"model": "llama3.2", "message": {"role": "assistant", "content": content}, "done": False, **more}
    return json.dumps(body).encode() + b"\n"


def framed(*lines: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in lines)


def taken(connection: socket.socket) -> None:
    """Until the client has read what was sent: what comes next is another read of it, at another time."""
    (_, mine), (_, peer) = connection.getsockname(), connection.getpeername()
    while any(unread > 0 for unread in unread_bytes(peer, mine)):
        os.sched_yield()


def unread_bytes(port: int, remote_port: int) -> Iterator[int]:
    """What the kernel holds for the owner of a socket of this machine (proc_pid_net(5): rx_queue)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (port, remote_port):
            yield int(queues.split(":")[1], 16)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
END = line("", done=True, done_reason="stop", prompt_eval_count=12, eval_count=3)
WHOLE: list[Action] = [HEAD, framed(line("Hel")), taken, framed(line("lo")), taken, framed(line("!")), framed(END)]
WHOLE += [b"0\r\n\r\n"]
REFUSED = HEAD + framed(line("Hel"), json.dumps({"error": f"out of memory, {KEY}"}).encode() + b"\n") + b"0\r\n\r\n"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own-api.md").read_text(), re.DOTALL)


def documented() -> str:
    return blocks()[0]


def run(folder: Path, locustfile: str, url: str) -> tuple[subprocess.CompletedProcess[str], list[RequestRecord]]:
    (folder / "llama.py").write_text(locustfile)
    options = ["--headless", "-u", "1", "-t", "60s", "--max-total-requests", "4", "--think-time", "0.2"]
    command = [sys.executable, "-m", "locust", "-f", "llama.py", *options, "--max-tokens", "3", "--host", url]
    environment = {**os.environ, "LLAMA_KEY": KEY, "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    rows = [
        row for path in folder.glob("results/*/*/requests.csv") for row in csv.DictReader(path.read_text().splitlines())
    ]
    return done, [RequestRecord.from_row(row) for row in rows]


def test_the_documented_locustfile_measures(tmp_path: Path) -> None:
    with scripted_server(WHOLE, [REFUSED], WHOLE) as server:
        done, records = run(tmp_path, documented(), server.url)
    assert len(records) == len(server.requests) > 2, done.stderr
    good, bad, *_ = records
    assert {record.outcome for record in [good, *records[2:]]} <= {Outcome.OK, Outcome.CANCELLED}
    assert (good.target, good.name, good.chunks, good.finish_reason) == ("other", "llama", 3, "stop")
    assert (good.prompt_tokens, good.completion_tokens, good.max_tokens) == (12, 3, 3)
    assert good.ttft_ms is not None and good.tbt_ms is not None and good.e2e_ms is not None
    assert good.ttft_ms <= good.e2e_ms
    assert (bad.outcome, bad.error) == (Outcome.STREAM_ERROR, "out of memory, ***")
    assert server.requests[0].startswith(b"POST /api/chat HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}".encode() in server.requests[0]
    assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["options"] == {"num_predict": 3}
    written = [path.read_bytes().decode("utf-8", "replace") for path in tmp_path.glob("results/**/*") if path.is_file()]
    assert KEY not in done.stdout + done.stderr + "".join(written)
    facts = json.loads(next(tmp_path.glob("results/*/*/run.json")).read_text())
    assert (facts["target"]["kind"], facts["target"]["host"]) == ("other", server.url)


def test_the_documented_task_leaves_a_row_for_each_request(tmp_path: Path) -> None:
    only = documented().replace("class Llama(ApiUser):", "class Llama(ApiUser):\n    abstract = True")
    with scripted_server(WHOLE) as server:
        done, records = run(tmp_path, f"{only}\n{blocks()[1]}", server.url)
    assert len(records) == len(server.requests) > 2, done.stderr
    assert {record.name for record in records} == {"llama"} and "raised" not in done.stderr


def test_an_api_that_raises_leaves_rows_and_says_why(tmp_path: Path) -> None:
    broken = documented().replace('self.last["eval_count"]', 'self.last["no_such_count"]')
    with scripted_server(WHOLE) as server:
        _, records = run(tmp_path, broken, server.url)
    assert len(records) == len(server.requests) > 1
    assert (records[0].outcome, records[0].error) == (Outcome.BAD_PAYLOAD, "LinesReader: KeyError: 'no_such_count'")


def test_without_a_host_nothing_starts(tmp_path: Path) -> None:
    done, records = run(tmp_path, documented(), "")
    assert (done.returncode, records) == (2, [])
    assert "host: expected --host, the base URL of the API, got none" in done.stderr


def test_an_api_of_ones_own_is_short() -> None:
    lines = [line for line in documented().splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(lines) <= MAX_LINES
