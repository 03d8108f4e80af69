"""Whatever stands in a file of a run, or in a server-metrics option: it is read, or refused in words."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.commands.recover import recover
from analysis.findings.summarise import summarise
from analysis.sources.loading import load_run, read_meta
from tokenswarm.metrics.server_metrics import parse_server_metrics, read_samples
from tokenswarm.results.csv_rows import HEADER
from tokenswarm.results.in_flight import in_flight_path, read_in_flight
from tokenswarm.results.recorder import read_journal_after
from tokenswarm.userinput import BadInput

KEYS = ("schema_version", "state", "started_at", "ended_at", "options", "accounting", "window", "criteria", "verdict",
        "quota", "generator", "delivery", "target", "scenario", "search", "test_name", "workers", "host")  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROW = "c1,1,w0,1,chat,chat,,,,,1700000000.0,,,,,,,,,10.0" + "," * (HEADER.count(",") - 19)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
@example({"accounting": {"lost": [{"rows": "many"}, 3]}, "started_at": "yesterday", "window": [1]})
def test_any_run_json_is_summed_up_or_refused(facts: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "run.json").write_text(json.dumps(facts), encoding="utf-8")
        (directory / "requests.csv").write_text(HEADER, encoding="utf-8")
        try:
            summarise(load_run(directory))
        except BadInput as error:
            assert error.problems


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_of_run_json_are_noted(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "run.json").write_bytes(data)
        try:
            meta, _ = read_meta(directory)
            assert isinstance(meta, dict)
        except BadInput as error:
            assert error.problems


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=12))
@example(b"\xff\xfe\x00", b"1234567")
@example(b'"', b"\xff" * 8)
def test_any_journal_is_recovered_as_far_as_it_goes(garbage: bytes, under_way: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        journal = directory / "journal-w0.csv"
        journal.write_bytes(HEADER.encode() + garbage)
        in_flight_path(journal).write_bytes(under_way)
        left = read_in_flight(journal)
        assert left is None if len(under_way) != 8 else left is not None and left >= 0
        assert isinstance(read_journal_after(journal, 0), list)
        found = recover(directory, {})
        assert found.rows >= 0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text("azure:prometheus=/;,htps.0159 -", max_size=60))
def test_any_server_metrics_option_is_read_or_refused(text: str) -> None:
    try:
        parse_server_metrics(text)
    except BadInput as error:
        assert error.problems


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_file_of_server_metrics_is_read_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "server_metrics.csv"
        path.write_bytes(data)
        try:
            read_samples(path)
        except BadInput as error:
            assert error.problems
