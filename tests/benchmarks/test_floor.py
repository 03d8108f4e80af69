from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import floor


def test_without_a_compiler_it_says_that_it_was_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["floor"])
    assert floor.build(tmp_path) is None
    assert floor.main() == 0
    assert capsys.readouterr().out.startswith("skipped: no C compiler")


def test_a_floor_client_that_cannot_be_built_is_no_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho no such header >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(RuntimeError, match="no such header"):
        floor.build(tmp_path)
