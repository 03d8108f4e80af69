"""What is printed passes one writer: nothing in the product prints past it."""

from __future__ import annotations

import ast
import io
import sys
from pathlib import Path

import pytest

from tokenswarm.redaction import (
    MASK,
    SECRETS,
    Secrets,
    escape,
    one_line,
    secret_query_values,
    without_controls,
    write_line,
)

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for package in ("tokenswarm", "analysis", "deploy") for path in (ROOT / package).rglob("*.py"))
HOSTILE = "\x1b]0;owned\x07 \x9b31m \u202eevil\u2066 \x00\x08\r\u2028\ud800\ufeff"


def writes(path: Path) -> list[int]:
    """Lines that print, or write to a standard stream by its name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "sys.stdout.write", "sys.stderr.write", "traceback.print_exc"):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_prints_past_the_writer(path: Path) -> None:
    assert writes(path) == []


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    assert not set(without_controls(HOSTILE)) & set("\x1b\x07\x9b\u202e\u2066\x00\x08\r\u2028\ud800\ufeff")
    assert without_controls("a line\nand a tab\t, ümläut, 日本, 🙂\r\n") == "a line\nand a tab\t, ümläut, 日本, 🙂\n"
    assert one_line("a\nforged line\tb") == "a forged line b"
    assert escape("<b>\x1b") == "&lt;b&gt;?"


def test_the_writer_redacts_and_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenswarm.redaction.SECRETS", secrets := Secrets())
    secrets.add("canary-4711")
    out = io.StringIO()
    write_line("canary-4711 and can\x1bary-4711 \x1b[2J", out)
    assert out.getvalue() == f"{MASK} and {MASK} [2J\n"
    monkeypatch.setattr(sys, "stdout", out)
    write_line("https://h/x?functionKey=abcdef&b=1")
    assert out.getvalue().endswith(f"https://h/x?functionKey={MASK}&b=1\n")


@pytest.mark.parametrize(
    "text",
    [
        "/api/x?code=SECRETVALUE",
        "GET /x?a=1&sig=SECRETVALUE&b=2",
        "?functionkey=SECRETVALUE",
        "?functionKey=SECRETVALUE",
        "?function-key=SECRETVALUE",
        "?api_key=SECRETVALUE#top",
        "%3Fcode%3DSECRETVALUE",
        '<a href="/x?a=1&amp;code=SECRETVALUE">',
        '{"path": "/x?a=1\\u0026code=SECRETVALUE"}',
        "query: expected name=value, got 'sig=SECRETVALUE'",
        "subscription-key=SECRETVALUE",
        "?access_token=SECRETVALUE",
    ],
)
def test_credentials_in_a_url_are_hidden_by_their_names(text: str) -> None:
    assert "SECRETVALUE" not in Secrets().redact(text)
    assert "SECRETVALUE" in secret_query_values(text)[0]


def test_sentences_of_ours_are_not_torn() -> None:
    for text in ("exit code=2", "the token=value form", "x-functions-key: keys are not taken over", "n=128; p95 < 3"):
        assert Secrets().redact(text) == text


def test_plain_data_is_cleaned_to_its_depth() -> None:
    data = {"a\x1b": ["x?code=abcd", {"b": ("\x9b", 1, None, 2.5)}]}
    assert SECRETS.redact_values(data) == {"a?": [f"x?code={MASK}", {"b": ["?", 1, None, 2.5]}]}
