from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tokenswarm.traffic.test_index import batch, write
from tokenswarm.traffic.__main__ import main
from tokenswarm.traffic.describe import _shared_blocks, describe
from tokenswarm.traffic.index import build_index


def test_shared_are_whole_blocks_from_the_beginning() -> None:
    seen: set[bytes] = set()
    same, other = "a" * 1024, "b" * 512
    assert _shared_blocks(same + "x" * 512, seen) == (0, 3)
    assert _shared_blocks(same + other, seen) == (2, 3)
    assert _shared_blocks(other + same, seen) == (0, 3)  # the same text elsewhere is not shared
    assert _shared_blocks("a" * 511, seen) == (0, 0)


def test_a_file_by_hand(tmp_path: Path) -> None:
    lines = [{**batch(at, max_tokens=10 * at), "session_id": f"s{at // 2}"} for at in range(1, 5)]
    lines[3]["body"]["tools"] = [{"type": "function"}]
    found = describe(build_index(write(tmp_path / "r.jsonl", *lines, "x"), "chat", 1))
    assert (found["requests"], found["sessions"], found["skipped_lines"], found["apis"]) == (4, 3, 1, {"chat": 4})
    assert found["max_tokens"] == {"mean": 25.0, "p50": 30.0, "p95": 40.0, "p99": 40.0, "max": 40.0}
    assert (found["with_tools_pct"], found["requests_per_session"]["max"]) == (25.0, 2.0)
    assert (found["arrivals"]["duration_s"], found["arrivals"]["rpm"], sum(found["arrivals"]["per_bin"])) == (3, 80, 4)


def test_it_is_said_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sample in ("sample-requests", "sample-agents"):
        path = f"scenarios/traces/{sample}.jsonl"
        assert main(["describe", path]) == 0
        text = capsys.readouterr().out
        assert main(["describe", path, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert f"{found['requests']} requests in {found['sessions']} sessions" in text
        assert "4711" not in text
