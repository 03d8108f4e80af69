"""Who served what: by the headers of the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.findings.summarise import summarise
from analysis.findings.summary import Summary
from analysis.plots.plots import drawable, load_over_time
from analysis.report import tables
from analysis.sources.loading import load_run
from tests.analysis.run_directories import T, answered, refused, write_run
from tokenswarm.client.attempt import service_fields
from tokenswarm.config.request_extras import parse_header_name
from tokenswarm.userinput import BadInput

OWN: dict[str, Any] = {"region": "Sweden Central"}
SPILLED: dict[str, Any] = {"route": "gpt-s", "spilled_from": "gpt-p", "region": "Sweden Central"}


def summary_of(directory: Path, records: list[Any]) -> Summary:
    return summarise(load_run(write_run(directory / "r", records, {"state": "finished", "started_at": T})))


def test_spillover_is_counted_and_each_route_has_its_figures(tmp_path):
    records = [answered(f"a{n}", n, 100.0, 200.0, 5, **OWN) for n in range(30)]
    records += [answered(f"s{n}", 30 + n, 300.0, 400.0, 5, **SPILLED) for n in range(10)]
    records += [refused("t", 41, **SPILLED), refused("u", 42)]
    summary = summary_of(tmp_path, records)
    assert summary.spillover is not None
    assert (summary.spillover.spilled, summary.spillover.answered, summary.spillover.share_pct) == (10, 40, 25.0)
    own, spilled = "as addressed, Sweden Central", "gpt-s, spilled over from gpt-p, Sweden Central"
    assert list(summary.by_route) == [own, spilled]
    assert summary.by_route[own].distribution("ttft_ms").avg.value == 100.0
    assert (summary.by_route[spilled].counts.ok, summary.by_route[spilled].counts.throttled) == (10, 1)
    made = tables.by_route(summary)
    assert made is not None and made.notes[0].startswith("10 of 40 answered requests (25.0 %)")


def test_the_share_is_drawn_over_time(tmp_path):
    records = [answered(f"a{n}", n, 1.0, 2.0, 5, **(SPILLED if n >= 60 else OWN)) for n in range(120)]
    run = load_run(write_run(tmp_path / "r", records, {"state": "finished", "started_at": T}))
    [plot] = [plot for plot in load_over_time(drawable([run], [summarise(run)])) if plot.key == "spillover"]
    shares = [share for share in plot.spec["data"][0]["y"] if share is not None]
    assert (shares[0], shares[-1]) == (0.0, 100.0)


def test_one_way_of_being_served_is_no_table(tmp_path):
    summary = summary_of(tmp_path, [answered(f"a{n}", n, 1.0, 2.0, 5, **OWN) for n in range(5)])
    assert not summary.by_route and summary.spillover is None and tables.by_route(summary) is None


def test_backends_are_told_apart_by_a_header_of_ones_own():
    headers = {"x-backend": "west-2", "x-ms-deployment-name": "gpt-s", "x-ms-spillover-from-deployment": "gpt-p"}
    assert service_fields(headers, 0.0, "x-backend")["route"] == "west-2"
    found = service_fields(headers, 0.0)
    assert (found["route"], found["spilled_from"]) == ("gpt-s", "gpt-p")
    assert service_fields({"x-backend": "b" * 500}, 0.0, "x-backend")["route"] == "b" * 200
    assert service_fields({}, 0.0)["route"] is None


@pytest.mark.parametrize("text", ["", "two words", "x:y", "a" * 101, "ü"])
def test_a_route_header_is_the_name_of_a_header(text):
    with pytest.raises(BadInput, match="route-header: expected the name of a response header"):
        parse_header_name(text)
    assert parse_header_name(" X-Backend ") == "x-backend"
