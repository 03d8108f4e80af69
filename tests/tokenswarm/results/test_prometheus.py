from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.faults.certificates import Authority
from tokenswarm.metrics.server_metrics import PrometheusEndpoint, ServerMetric, ServerSample, read_samples
from tokenswarm.results.prometheus import (
    NAMES,
    Scrape,
    Scraper,
    names_of,
    parse_exposition,
    read_endpoint,
    samples_between,
)
from tokenswarm.transport.tls import tls_context

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.3
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7e+09
vllm:request_success_total{finished_reason="stop",model_name="m"} 4.0
vllm:request_success_total{finished_reason="length",model_name="m, \\"odd\\""} 1.0
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 5.0
vllm:time_to_first_token_seconds_sum{model_name="m"} 2.5
vllm:time_to_first_token_seconds_count{model_name="m"} 5.0
unknown_metric 1
"""


def values_of(samples: Iterator[ServerSample]) -> dict[tuple[str, str, str], tuple[float, str]]:
    return {
        (one.metric, one.dimensions, one.aggregation): (pytest.approx(one.value), one.unit)  # type: ignore[misc]
        for one in samples
    }


def test_two_readings_of_vllm_become_samples() -> None:
    before = parse_exposition(VLLM, 100.0, NAMES)
    later = (
        VLLM.replace("1000.0", "1600.0")
        .replace('"stop",model_name="m"} 4.0', '"stop",model_name="m"} 10.0')
        .replace("} 2.5", "} 4.5")
        .replace('_count{model_name="m"} 5.0', '_count{model_name="m"} 15.0')
    )
    samples = list(samples_between(before, parse_exposition(later, 105.0, NAMES), NAMES, "gpu"))
    assert values_of(iter(samples)) == {
        ("requests_running", "", "average"): (5, "count"),
        ("kv_cache_usage", "", "average"): (40, "%"),
        ("prompt_tokens", "", "total"): (600, "count"),
        ("requests", "finished_reason=stop", "total"): (6, "count"),
        ("requests", "finished_reason=length", "total"): (0, "count"),
        ("ttft", "", "average"): (200, "ms"),
    }
    assert {(one.at, one.interval_s, one.resource) for one in samples} == {(100.0, 5.0, "gpu")}


def test_a_restarted_server_counts_from_zero() -> None:
    key = ("vllm:prompt_tokens_total", "value", "")
    samples = list(samples_between(Scrape(0, {key: 900.0}), Scrape(5, {key: 30.0}), NAMES, "gpu"))
    assert [one.value for one in samples] == [30]


def test_a_histogram_without_new_observations_has_no_mean() -> None:
    reading = parse_exposition(VLLM, 0, NAMES)
    assert "ttft" not in {one.metric for one in samples_between(reading, reading, NAMES, "gpu")}


def test_llama_cpp_and_tgi_get_the_same_names() -> None:
    llama = "llamacpp:prompt_tokens_total 7\nllamacpp:tokens_predicted_total 3\nllamacpp:requests_deferred 2\n"
    tgi = (
        "tgi_request_input_length_sum 7\ntgi_request_generated_tokens_sum 3\n"
        'tgi_queue_size 2\ntgi_request_count{method="x"} 1\n'
    )
    empty = Scrape(0, {})
    of_llama, of_tgi = (
        {one.metric: one.value for one in samples_between(empty, parse_exposition(text, 1, NAMES), NAMES, "r")}
        for text in (llama, tgi)
    )
    assert of_llama == {"uncached_prompt_tokens": 7, "generated_tokens": 3, "requests_waiting": 2}
    assert of_tgi == {"prompt_tokens": 7, "generated_tokens": 3, "requests_waiting": 2, "requests": 1}


def test_lines_that_are_no_numbers_are_passed_over() -> None:
    text = "llamacpp:requests_deferred NaN\nllamacpp:requests_processing oops\n<html>\nllamacpp:requests_processing"
    assert parse_exposition(text, 0, NAMES).values == {}


def test_an_entry_adds_metrics_of_its_own() -> None:
    names = names_of(
        PrometheusEndpoint("r", "http://h", 5, (ServerMetric("DCGM_FI_DEV_GPU_UTIL"), ServerMetric("errors_total")))
    )
    assert (names["DCGM_FI_DEV_GPU_UTIL"].kind, names["errors_total"].kind) == ("gauge", "counter")


class Metrics(BaseHTTPRequestHandler):
    """Each reading finds 10 prompt tokens more; the third is refused."""

    readings = 0
    third = threading.Event()

    def do_GET(self) -> None:
        Metrics.readings += 1
        body = f"llamacpp:prompt_tokens_total {10 * Metrics.readings}\n".encode()
        self.send_response(503 if Metrics.readings == 3 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if Metrics.readings > 3:
            self.third.set()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_scrapes_in_the_background_and_loses_nothing_over_a_gap(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/metrics"
    path = tmp_path / "server_metrics.csv"
    scraper = Scraper(PrometheusEndpoint("llama", url, 0.05), path)
    scraper.start()
    assert Metrics.third.wait(20)
    scraper.stop()
    server.shutdown()
    server.server_close()
    samples = read_samples(path)
    assert sum(one.value for one in samples) == 10 * (Metrics.readings - 1)
    assert scraper.failures == 1
    assert all(one.source == "prometheus" and one.metric == "uncached_prompt_tokens" for one in samples)


def test_an_endpoint_that_never_answers_leaves_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scraper = Scraper(PrometheusEndpoint("r", "http://127.0.0.1:9/metrics", 60), tmp_path / "server_metrics.csv")
    scraper.start()
    scraper.stop()
    assert scraper.failures == 2
    assert [record.message for record in caplog.records] == [
        "server-metrics: no answer from http://127.0.0.1:9/metrics: <urlopen error [Errno 111] Connection refused>"
    ]
    assert not (tmp_path / "server_metrics.csv").exists()


def test_reading_needs_an_http_server() -> None:
    with pytest.raises(OSError):
        read_endpoint(PrometheusEndpoint("r", "http://127.0.0.1:9/metrics"), timeout_s=1)


class Guarded(BaseHTTPRequestHandler):
    """A /metrics page for who has the token; each server has its own list of what was sent to it."""

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization", "")
        server = self.server
        assert isinstance(server, GuardedServer)
        server.sent.append(sent)
        body = f"llamacpp:prompt_tokens_total {10 * len(server.sent)}\n".encode()
        self.send_response(302 if server.leads_to else 200 if sent == "Bearer scrape-token-4711" else 401)
        if server.leads_to:
            self.send_header("Location", server.leads_to)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class GuardedServer(ThreadingHTTPServer):
    def __init__(self, tls: ssl.SSLContext | None = None, leads_to: str = "") -> None:
        super().__init__(("127.0.0.1", 0), Guarded)
        self.sent: list[str] = []
        self.leads_to = leads_to
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_address[1]}/metrics"


@contextmanager
def guarded(tls: ssl.SSLContext | None = None, leads_to: str = "") -> Iterator[GuardedServer]:
    server = GuardedServer(tls, leads_to)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


BEARER = (("Authorization", "Bearer scrape-token-4711"),)


def test_an_endpoint_behind_tls_needs_the_runs_authority_and_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority("company")
    trusted = tls_context(str(authority.write(tmp_path / "ca.pem")))
    path = tmp_path / "server_metrics.csv"
    with guarded(authority.server_context(tmp_path, "127.0.0.1")) as server:
        endpoint = PrometheusEndpoint("r", server.url, 60, headers=BEARER)
        for tls in (trusted, tls_context(verify=False)):
            assert read_endpoint(endpoint, tls).startswith("llamacpp:prompt_tokens_total")
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            read_endpoint(endpoint)
        with pytest.raises(OSError, match="401"):
            read_endpoint(PrometheusEndpoint("r", server.url, 60), trusted)
        scraper = Scraper(endpoint, path, tls=trusted)
        scraper.start()
        scraper.stop()
    assert [sample.value for sample in read_samples(path)] == [10]
    assert not caplog.records


def test_a_redirect_takes_no_credential_along() -> None:
    with guarded() as other, guarded(leads_to=other.url.replace("127.0.0.1", "localhost")) as server:
        with pytest.raises(OSError, match="401"):
            read_endpoint(PrometheusEndpoint("r", server.url, headers=BEARER))
        assert (server.sent, other.sent) == (["Bearer scrape-token-4711"], [""])
