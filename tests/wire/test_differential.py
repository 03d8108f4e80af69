"""The openai SDK on the same bytes: where the two differ the case says why, and the page shows it."""

from __future__ import annotations

import pytest

from tests.wire.cases import Case
from tests.wire.corpus import CASES
from tests.wire.differential import PAGE, differ, our_view, sdk_view, written


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.name}")
def test_we_read_what_the_sdk_reads_or_say_why_not(case: Case) -> None:
    assert differ(case) == (case.sdk is not None), (our_view(case), sdk_view(case))


def test_the_page_shows_the_differences() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page)
