from __future__ import annotations

import pytest

from tokenswarm.sender.sender import Place, _seen_prefixes


@pytest.mark.parametrize(
    ("count", "has_master", "is_known", "tells"),
    [(1, False, True, False), (1, True, True, False), (2, True, True, True), (2, False, False, False)],
)
def test_what_several_processes_share_is_known_where_a_master_tells_them(
    count: int, has_master: bool, is_known: bool, tells: bool
) -> None:
    seen = _seen_prefixes(Place("w0", 0, count, "chat", "chat", None, has_master))
    assert (seen is not None) is is_known
    if seen is not None:
        seen.share([b"a" * 300])
        assert bool(seen.take_fresh()) is tells
