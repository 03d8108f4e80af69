from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tokenswarm.recordings.test_index import batch, write
from tokenswarm.recordings.scan import scan
from tokenswarm.traffic.__main__ import main
from tokenswarm.traffic.describe import describe, histogram
from tokenswarm.traffic.replay import Recording, Replay


def test_a_file_by_hand(tmp_path: Path) -> None:
    lines = [{**batch(at, max_tokens=10 * at), "session_id": f"s{at // 2}"} for at in range(1, 5)]
    lines[3]["body"]["tools"] = [{"type": "function"}]
    found = describe(scan(write(tmp_path / "r.jsonl", *lines, "x"), "chat", 1))
    assert (found["requests"], found["sessions"], found["skipped_lines"], found["apis"]) == (4, 3, 1, {"chat": 4})
    assert found["max_tokens"] == {"mean": 25.0, "p50": 20.0, "p95": 40.0, "p99": 40.0, "max": 40.0}
    assert (found["with_tools_pct"], found["requests_per_session"]["max"]) == (25.0, 2.0)
    assert (found["arrivals"]["duration_s"], found["arrivals"]["rpm"], sum(found["arrivals"]["per_bin"])) == (3, 60, 4)


def test_steps_and_turns_are_requests_of_their_session(tmp_path: Path) -> None:
    said = [{"from": who, "value": "x" * 400} for who in ("system", "human", "gpt", "human")]
    found = describe(scan(write(tmp_path / "c.jsonl", {"conversations": said}), "chat", 0))
    assert (found["requests"], found["sessions"], found["requests_per_session"]["max"]) == (2, 1, 2)
    assert found["prompt_tokens"]["max"] > 400 > 200 and found["shared_prefix_pct"] > 25
    steps = {"steps": [{"body": batch()["body"]}] * 3}
    found = describe(scan(write(tmp_path / "g.jsonl", steps, steps), "chat", 0))
    assert (found["requests"], found["sessions"], found["requests_per_session"]["mean"]) == (6, 2, 3)


def test_percentiles_are_of_the_nearest_rank(tmp_path: Path) -> None:
    lines = [batch(at, max_tokens=at + 1) for at in range(100)]
    found = describe(scan(write(tmp_path / "r.jsonl", *lines), "chat", 0))
    assert found["max_tokens"] == {"mean": 50.5, "p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert found["arrivals"]["rpm"] == 60


@pytest.mark.parametrize("limit", [True, 0, -1, 10**400, "5", 2.5])
def test_what_no_service_takes_is_no_limit(tmp_path: Path, limit: object) -> None:
    found = describe(scan(write(tmp_path / "r.jsonl", batch(max_tokens=limit), batch(max_tokens=7)), "chat", 0))
    assert found["max_tokens"]["mean"] == 7


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (["gpt hello", "human a", "gpt b", "human c"], ["a", "abc"]),
        (["human a", "gpt b", "gpt x", "system y", "human c"], ["a", "abc"]),
        (["system s", "human ", "gpt x", "human c"], ["sc"]),
    ],
)
def test_a_conversation_is_described_as_it_is_sent(tmp_path: Path, said: list[str], sent: list[str]) -> None:
    conversation = [{"from": who, "value": what} for who, _, what in (each.partition(" ") for each in said)]
    replay = Replay(Recording(scan(write(tmp_path / "c.jsonl", {"conversations": conversation}), "chat", 0), 0, 1))
    (bodies,) = replay.bodies()
    replay.close()
    assert ["".join(message["content"] for message in body["messages"]) for body, _ in bodies] == sent


def test_images_are_no_text(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBO" * 25_000}}
    said = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
    found = describe(scan(write(tmp_path / "r.jsonl", batch(messages=said)), "chat", 0))
    assert found["prompt_tokens"]["max"] < 50


def test_a_file_without_timestamps_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(write(tmp_path / "r.jsonl", batch()))]) == 0
    assert "arrivals: no timestamps" in (said := capsys.readouterr().out)
    assert said.startswith("1 request in 1 session, 0 lines left out")


def test_what_came_at_once_has_no_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "r.jsonl", batch(5), batch(5))
    assert describe(scan(path, "chat", 0))["arrivals"]["rpm"] is None
    assert main(["describe", str(path)]) == 0
    assert "arrivals: 2 requests at one instant" in capsys.readouterr().out
    assert main(["describe", str(write(tmp_path / "s.jsonl", batch(5), batch(5.5)))]) == 0
    assert "over 0.5 s\n   0.000 s       1" in capsys.readouterr().out


def test_it_is_said_as_text_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sample, arrive in (("sample-requests", "requests"), ("sample-agents", "sessions")):
        path = f"scenarios/traces/{sample}.jsonl"
        assert main(["describe", path]) == 0
        text = capsys.readouterr().out
        assert main(["describe", path, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert f"{found['requests']} requests in {found['sessions']} sessions" in text
        assert "4711" not in text and f" {arrive} a minute over " in text


def test_bins_hold_each_value_once_and_grow_by_a_fourth_at_most() -> None:
    values = [*range(200), 1000, 1023, 1024, 2_000_000]
    bins = histogram(values)
    assert sum(count for _, _, count in bins) == len(values)
    for low, high, count in bins:
        assert count == sum(low <= value <= high for value in values)
        assert high - low + 1 <= max(1, low / 4)
    assert [high + 1 for _, high, _ in bins[:-1]] == [low for low, _, _ in bins[1:]]
    assert histogram([]) == []


def test_plots_are_a_page_that_says_nothing_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["describe", "scenarios/traces/sample-requests.jsonl", "--html", str(page)]) == 0
    text = page.read_text()
    for title in ("Arrivals over time", "Prompt length", "Completion limit", "Requests of a session", "Prefix sharing",
                  "APIs and tools"):  # fmt: skip
        assert f"<figcaption>{title}" in text
    assert "bicycle" not in text and "request-1" not in text
    assert main(["describe", "scenarios/traces/sample-requests.jsonl", "--html", str(tmp_path / "no" / "p.html")]) == 2
    assert "output: expected a file that can be written" in capsys.readouterr().err
