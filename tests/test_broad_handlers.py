"""Who catches every exception says why beside it, or hands it on."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BROAD = ("Exception", "BaseException")


def unexplained(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in BROAD)
        and not (isinstance(last := node.body[-1], ast.Raise) and last.exc is None)
        and "#" not in lines[node.lineno - 1]
    ]


def test_no_exception_of_any_kind_is_swallowed_without_a_reason() -> None:
    paths = [path for package in ("tokenswarm", "analysis", "simulator") for path in (ROOT / package).rglob("*.py")]
    assert [place for path in paths for place in unexplained(path)] == []
