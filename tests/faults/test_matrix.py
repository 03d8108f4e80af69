"""Every fault, by real runs in 1, 2 and 4 processes: outcomes as docs/faults.md says, nothing lost, all users go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.config.fault_specs import ALL
from tests.faults import matrix
from tests.faults.matrix import CONNECTIONS, DOC, KINDS, MAX_PEAK_RSS, ONLY_CHAT, Seen

WORDS = {
    "refused": "refused",
    "tls_expired": "expired",
    "tls_wrong_host": "not valid for",
    "tls_unknown_ca": "issuer",
    "reset": "reset by peer",
    "bad_chunk": "malformed HTTP",
    "huge_line": "more than",
    "stall": "within 2 s",
    "redirect": "not followed",
}
"""What the error of a streamed request says."""


@pytest.mark.timeout(240)
def test_every_fault_has_its_outcome_and_nothing_else_suffers(tmp_path: Path) -> None:  # one test: the runs take long
    seen = matrix.see(tmp_path)
    check_that_every_fault_struck_and_every_user_went_on(seen)
    check_that_memory_is_bounded_and_no_descriptor_leaks(seen)
    for fault, words in WORDS.items():
        assert words in seen.errors[fault, "streamed"], fault
    assert matrix.render(seen) == DOC.read_text(encoding="utf-8")


def check_that_every_fault_struck_and_every_user_went_on(seen: Seen) -> None:
    expected = {(fault, kind) for fault in ALL for kind in KINDS if not (fault in ONLY_CHAT and "rag" in kind)}
    assert seen.cells.keys() >= expected
    gone_on = {cell for cell in seen.cells if sum(seen.cells[cell].values()) > 1 or seen.after[cell] > 0}
    assert seen.cells.keys() == gone_on
    for fault in CONNECTIONS:
        assert sum(seen.cells[fault, "streamed"].values()) > 3


def check_that_memory_is_bounded_and_no_descriptor_leaks(seen: Seen) -> None:
    for run, _ in seen.runs:
        assert 0 < run.peak_rss < MAX_PEAK_RSS
        assert run.peak_descriptors < 150
