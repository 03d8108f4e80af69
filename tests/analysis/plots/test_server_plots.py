from __future__ import annotations

from pathlib import Path

from analysis.findings.summarise import summarise
from analysis.plots.plots import drawable
from analysis.plots.server_plots import server_plots
from analysis.sources.loading import load_run
from tests.analysis.server.test_azure_monitor import START, write_run
from tests.analysis.server.test_client_and_server import sample
from tokenswarm.metrics.server_metrics import FILE_NAME, append_samples


def plots_of(run_path: Path):
    run = load_run(run_path)
    return server_plots(drawable([run], [summarise(run)]))


def test_a_run_without_server_metrics_has_no_such_plots(tmp_path: Path) -> None:
    assert plots_of(write_run(tmp_path)) == []


def test_one_plot_for_each_resource_and_unit_with_tokens_apart(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    append_samples(
        run / FILE_NAME,
        [
            sample("AzureOpenAIRequests", 3, at=START, dimensions="statuscode=200"),
            sample("AzureOpenAIRequests", 1, at=START, dimensions="statuscode=429"),
            sample("AzureOpenAIRequests", 2, at=START + 60, dimensions="statuscode=200"),
            sample("GeneratedTokens", 900, at=START),
            sample("HttpResponseTime", 1.5, "average", at=START, unit="Seconds", resource="<b>func</b>"),
        ],
    )
    plots = plots_of(run)
    assert sorted(plot.title for plot in plots) == [
        "<b>func</b>: ms",
        "aoai: count / 60 s",
        "aoai: tokens / 60 s",
    ]
    (requests,) = (plot for plot in plots if plot.title == "aoai: count / 60 s")
    (line,) = requests.spec["data"]
    assert line["y"] == [4, 2]
    assert line["name"] == "AzureOpenAIRequests (total)"
    assert line["x"] == sorted(line["x"])
