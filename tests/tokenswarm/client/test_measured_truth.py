"""What our records say of answers whose truth is known: the cases in which load testers are easily wrong.

Lateness is the machine's matter and is bounded loosely; what a record must never say is bounded strictly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.known_target import Running, known_target, truth_of
from tokenswarm.apis.chat_completions import ChatCompletions
from tokenswarm.apis.request import ChatRequest, ChatTarget, Sending
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.sdk import SdkEndpoint
from tokenswarm.generator.accuracy import Truth, client_request_id, read_truth
from tokenswarm.metrics.criteria import evaluate, parse_criteria
from tokenswarm.metrics.samples import Samples
from tokenswarm.record import Outcome, RequestRecord, TokenSource

TIMING = ("--ttft-ms", "120", "--tbt-ms", "5", "--tokens", "16")
LATE_MS = 2000.0  # a loaded machine; a real fault here would be hundreds of ms in the other direction


@dataclass
class Asked:
    """Records of the calls made, and the truth of them once the target has stopped."""

    running: Running
    records: list[RequestRecord]

    def ask(self, calls: int = 1, content: str = "hi", **timing: Any) -> None:
        """Call over one connection, `timing` overriding the target's for these requests."""
        url = f"http://127.0.0.1:{self.running.port}"
        endpoint = SdkEndpoint(ChatTarget(api="openai", endpoint=url, deployment="m", key="k"))
        client = Client(ChatCompletions("m"), endpoint, Sending(timeout_s=30.0), Caller("w0", 1))
        body = {"known_timing": timing} if timing else {}
        for _ in range(calls):
            messages = [{"role": "user", "content": content}]
            client.call(ChatRequest(messages=messages, context_tokens=1, body=body), self.records.append)
        client.close()

    def pairs(self) -> list[tuple[RequestRecord, Truth]]:
        truths = read_truth(truth_of(self.running))
        assert len(truths) == len(self.records)
        return [(record, truths[client_request_id(record)]) for record in self.records]


def ask_of(tmp_path: Path, *arguments: str, calls: int = 1, content: str = "hi", **timing: Any) -> Asked:
    """Calls to a target with `arguments` that has stopped since."""
    with known_target(tmp_path, *TIMING, *arguments) as running:
        asked = Asked(running, [])
        asked.ask(calls, content, **timing)
    return asked


def check(record: RequestRecord, truth: Truth) -> None:
    """Never less than the truth, never far from it, and every token counted."""
    assert record.outcome is Outcome.OK, record.error
    assert record.ttft_ms is not None
    assert record.e2e_ms is not None
    assert record.tbt_ms is not None
    # The target's stamps are taken just before its writes, so a measured time cannot be smaller.
    assert truth.ttft_ms - 0.5 <= record.ttft_ms <= truth.ttft_ms + LATE_MS
    assert truth.e2e_ms - 0.5 <= record.e2e_ms <= truth.e2e_ms + LATE_MS
    assert (record.completion_tokens, record.token_source) == (truth.tokens, TokenSource.USAGE)
    assert record.chunks == truth.chunks


@pytest.mark.parametrize(
    "arguments",
    [
        ("--framing", "close"),
        ("--line-end", "crlf"),
        ("--piece-bytes", "11"),
        ("--continue-100",),
        ("--role-early",),
    ],
)
def test_no_framing_changes_what_is_measured(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    for record, truth in ask_of(tmp_path, *arguments, calls=2).pairs():
        check(record, truth)


def test_a_role_chunk_is_not_a_token(tmp_path: Path) -> None:
    ((record, truth),) = ask_of(tmp_path, "--role-early").pairs()
    assert truth.ttft_ms >= 120.0
    assert record.headers_ms is not None
    assert record.ttft_ms is not None
    assert record.ttft_ms >= 119.5


def test_four_tokens_a_chunk_change_neither_tokens_nor_tbt(tmp_path: Path) -> None:
    ((record, truth),) = ask_of(tmp_path, tokens_per_chunk=4, tbt_ms=20).pairs()
    check(record, truth)
    assert (record.chunks, record.completion_tokens) == (4, 16)
    # Chunks are 80 ms apart; a token is 20 ms.
    assert truth.tbt_ms == pytest.approx(20.0, abs=LATE_MS / 16)
    assert record.tbt_ms == pytest.approx(truth.tbt_ms, abs=LATE_MS / 16)


def test_without_usage_token_figures_are_absent_and_a_tpm_criterion_has_no_data(tmp_path: Path) -> None:
    asked = ask_of(tmp_path, usage=False)
    (record,) = asked.records
    assert record.outcome is Outcome.OK
    assert record.ttft_ms is not None
    assert (record.completion_tokens, record.prompt_tokens, record.tbt_ms) == (None, None, None)
    assert record.token_source is TokenSource.NONE
    assert record.started_at is not None
    window = (record.started_at - 1.0, record.started_at + 119.0)
    (result,) = evaluate(parse_criteria("avg(tpm) < 1000"), Samples.from_records([record]), window)
    assert (result.state, result.value) == ("no_data", None)


def test_a_stall_in_mid_stream_is_the_longest_gap(tmp_path: Path) -> None:
    asked = ask_of(tmp_path, stall_ms=400, stall_after=8)
    ((record, truth),) = asked.pairs()
    check(record, truth)
    late_ms = truth_of(asked.running)[0]["late_max_ms"]  # the chunk before the stall may have left so late
    assert record.gap_max_ms is not None
    assert 404.0 - late_ms <= record.gap_max_ms <= 405.0 + LATE_MS


def test_a_slow_upload_is_in_sent_ms_and_in_ttft(tmp_path: Path) -> None:
    (record,) = ask_of(tmp_path, "--read-pause-ms", "300", content="x " * 4_000_000).records
    assert record.outcome is Outcome.OK
    assert record.sent_ms is not None
    assert record.ttft_ms is not None
    assert record.sent_ms >= 290.0
    assert record.ttft_ms >= record.sent_ms + 100.0


def test_an_answer_before_the_end_of_the_request_is_measured(tmp_path: Path) -> None:
    asked = ask_of(tmp_path, "--early-response", "--read-pause-ms", "300", content="x " * 4_000_000)
    (record,) = asked.records
    assert record.outcome is Outcome.OK, record.error
    assert record.headers_ms is not None
    assert record.headers_ms < 290.0
    assert record.completion_tokens == 16


def test_connect_time_is_reported_once_for_each_connection(tmp_path: Path) -> None:
    asked = ask_of(tmp_path, "--requests-per-connection", "2", calls=4)
    assert [record.connect_ms is None for record in asked.records] == [False, True, False, True]
    for record, truth in asked.pairs():
        check(record, truth)
        assert record.sent_ms is not None
        assert record.sent_ms >= (record.connect_ms or 0.0)  # inside: offsets start before connecting
