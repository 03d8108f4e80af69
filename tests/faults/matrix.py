"""Every fault against every kind of answer, by real runs; `python -m tests.faults.matrix` writes docs/faults.md.

Each fault has one virtual user, who meets it in about every second request. Which rows were struck is known from the
simulator's truth log, so a fault that leaves no trace in the row is seen as well.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.config.fault_specs import ALL
from tests.faults.certificates import Authority
from tests.faults.locust_run import LocustRun, check_identity, headless, running_locust
from tests.scripted_server import close, scripted_server
from tests.simulator_process import ROOT, Simulator, running_simulator

DOC = ROOT / "docs" / "faults.md"
FAST = "ttft_base_ms = 5\nttft_std_ms = 0\nttft_per_token_ms = 0\ntbt_ms = 2\ntbt_std_ms = 0\n"
PARAMETERS = {"slow_headers": ":0.05", "huge_line": ":100"}
RAG_PARAMETERS = PARAMETERS | {"huge_line": ":20"}
CONNECTIONS = {
    "refused": "nobody listens at the port",
    "no_such_host": "the host name has no address",
    "tls_expired": "the certificate has expired",
    "tls_wrong_host": "the certificate is another host's",
    "tls_unknown_ca": "the certificate's authority is not trusted",
    "tls_plain": "the server does not speak TLS",
}
"""Faults before there is a connection: they are met by every request of their user, and are not in the truth log."""

ONLY_CHAT = frozenset({"filter_midway", "http_403", "http_404", "http_408", "http_413", "http_503"})
"""Of no meaning to an orchestrator, or statuses that are no different there: its users cost the simulator more."""

KINDS = ("streamed", "whole", "rag_v1", "rag_v2")
MAX_PEAK_RSS = 400_000_000
"""Bytes that no process of a run may reach: a line of 100 MB is refused, not held."""

GONE_ON = ("ok", "timeout", "cancelled")
"""Of a request after a fault: a slow machine may time it out, the end of the run may cut it short."""
LAST_S = 1.0
"""Before the end of a run, in which a user need not come to another request."""

_WHOLE = ("--stream", "no", "--think-time", "0.3")
_RAG = ("--dataset", "scenarios/dataset.csv", "--think-time", "0.3", "-t", "6s")


@dataclass
class Seen:
    """What struck requests became, by fault and kind; the runs they come from; requests that came after a fault, or so
    late that none need have come after them."""

    cells: dict[tuple[str, str], Counter[tuple[str, str, bool]]] = field(default_factory=dict)
    errors: dict[tuple[str, str], str] = field(default_factory=dict)
    after: Counter[tuple[str, str]] = field(default_factory=Counter)
    runs: list[tuple[LocustRun, list[dict[str, Any]]]] = field(default_factory=list)

    def outcome(self, fault: str, kind: str) -> str:
        """The one outcome of a fault, with its status and whether tokens before it were kept.

        Requests that the end of the run cut short tell nothing; a slow machine may time requests out.
        """
        counts = self.cells[fault, kind]
        told = {key for key in counts if key[0] != "cancelled"}
        if not fault.startswith("stall"):
            told = {key for key in told if key[0] != "timeout"} or told
        assert len({key[0] for key in told}) == 1, f"{fault}, {kind}: {counts}"
        outcome, status, tokens = max(told, key=lambda key: (key[2], key[1]))  # the one that got furthest
        return f"{outcome}{f' {status}' if status and outcome != 'ok' else ''}{' ·' if tokens else ''}"


def see(folder: Path) -> Seen:
    """Run them all: streamed in one process, whole in 2 workers, orchestrators in 4."""
    seen = Seen()
    config = f"[deployments.'gpt-4.1-nano']\n{FAST}[rag]\nanswer_tokens = 8\n"
    for fault in ALL:
        spec = f'{{ fault = "{fault}{PARAMETERS.get(fault, "")}", share = 0.5 }}'
        config += f"[deployments.{fault}]\nfaults = [{spec}]\n{FAST}"
    with running_simulator(_ordered(config)) as simulator, _bad_endpoints(folder) as (endpoints, ca_file):
        chat: dict[str, Any] = {fault: {"deployment": fault} for fault in ALL}
        chat |= {name: {"endpoint": url} for name, url in endpoints.items()}
        _run(seen, simulator, folder / "streamed", "streamed", chat, "--ca-file", str(ca_file))
        # A whole body of 100 MB would keep the simulator from answering anybody else.
        smaller = [{"fault": "huge_line:20", "share": 0.5}]
        simulator.admin("PATCH", "/admin/config", {"deployments": {"huge_line": {"faults": smaller}}})
        _run(seen, simulator, folder / "whole", "whole", chat, "--ca-file", str(ca_file), *_WHOLE, workers=2)
        paths = {"v1": "/api/orc", "v2": "/orchestrator"}
        rag = {
            f"{fault}_{contract}": {
                "fault": fault + RAG_PARAMETERS.get(fault, ""),
                "contract": contract,
                "url": simulator.rag_url + path,
            }
            for fault in ALL
            if fault not in ONLY_CHAT
            for contract, path in paths.items()
        }
        _run(seen, simulator, folder / "rag", "rag", rag, *_RAG, workers=4)
    return seen


def _ordered(config: str) -> str:
    """TOML wants a table's keys together: [rag] last."""
    head, _, rest = config.partition("[rag]\n")
    keys, _, deployments = rest.partition("[deployments")
    return f"{head}[deployments{deployments}\n[rag]\n{keys}"


def _run(
    seen: Seen, simulator: Simulator, folder: Path, kind: str, faults: dict[str, Any], *arguments: str, workers: int = 1
) -> None:
    folder.mkdir()
    before = len(simulator.truth())
    with (
        running_locust(
            folder,
            *headless(simulator.chat_url, users=len(faults), run_time="8s", locustfile="tests/faults/every_fault.py"),
            *("--think-time", "0.1", "--timeout", "2"),
            *arguments,
            *(("--processes", str(workers)) if workers > 1 else ()),
            env={"FAULTS": json.dumps(faults), "KIND": "rag" if kind == "rag" else "chat"},
        ) as run,
        run.watched(),
    ):
        run.wait()
    truth = [line for line in simulator.truth(30)[before:] if not line["internal"]]
    seen.runs.append((run, truth))
    check_identity(run, truth)
    last = max(map(ended_at, run.rows))
    reasons = {line["client_request_id"]: line["reason"] for line in truth}
    for row in run.rows:
        fault, _, contract = row["name"].rpartition("_") if kind == "rag" else (row["name"], "", "")
        cell = (fault, f"rag_{contract}" if kind == "rag" else kind)
        seen.after[cell] += ended_at(row) > last - LAST_S
        if fault in CONNECTIONS or reasons.get(f"{row['call_id']}-{row['attempt']}") == fault:
            counts = seen.cells.setdefault(cell, Counter())
            counts[row["outcome"], row["status"], bool(row["ttft_ms"])] += 1
            if row["outcome"] not in ("cancelled", "timeout") or fault.startswith("stall"):
                seen.errors[cell] = row["error"]
        elif cell in seen.cells and row["outcome"] in GONE_ON:
            seen.after[cell] += 1


def ended_at(row: Mapping[str, str]) -> float:
    """Unix s."""
    return float(row["started_at"]) + float(row["e2e_ms"] or 0) / 1000


@contextlib.contextmanager
def _bad_endpoints(folder: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """Addresses at which no connection comes about, and a file with the authority that is trusted."""
    trusted, other = Authority("trusted"), Authority("other")
    script = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", close]
    contexts: dict[str, ssl.SSLContext | None] = {
        "tls_expired": trusted.server_context(folder, "127.0.0.1", days=-1),
        "tls_wrong_host": trusted.server_context(folder, "example.invalid"),
        "tls_unknown_ca": other.server_context(folder, "127.0.0.1"),
        "tls_plain": None,
    }
    with contextlib.ExitStack() as stack:
        urls = {"refused": "http://127.0.0.1:9", "no_such_host": "http://no-such-host.invalid"}
        for name, context in contexts.items():
            server = stack.enter_context(scripted_server(script, tls=context, read_request=context is not None))
            urls[name] = f"https://127.0.0.1:{server.port}"
        yield urls, trusted.write(folder / "ca.pem")


def render(seen: Seen) -> str:
    """docs/faults.md."""
    lines = [
        "# What becomes of a request when something goes wrong",
        "",
        "Written by `python -m tests.faults.matrix`, which runs Locust against the simulator with every fault it can",
        "inject; `tests/faults` fails when this page and the runs differ. Each cell: the row's outcome, the HTTP",
        "status where there is one, and `·` where tokens had come before the fault: their times are in the row.",
        "Whatever the fault, the request has one row, its virtual user goes on with the next request, and no process",
        f"grew beyond {MAX_PEAK_RSS // 1_000_000} MB. `timeout` was 2 s in these runs. The RAG columns are the v1 and",
        "v2 orchestrator contracts; an orchestrator's error is `stream_error` when it comes inside a 200.",
        "",
        "| fault | what the server does | chat, streamed | chat, whole | RAG v1 | RAG v2 |",
        "|---|---|---|---|---|---|",
    ]
    for fault, meaning in ALL.items():
        cells = [seen.outcome(fault, kind) if (fault, kind) in seen.cells else "–" for kind in KINDS]
        lines.append(f"| `{fault}` | {meaning} | {' | '.join(cells)} |")
    for fault, meaning in CONNECTIONS.items():
        cells = [seen.outcome(fault, kind) for kind in KINDS[:2]]
        lines.append(f"| `{fault}` | {meaning} | {' | '.join(cells)} | as chat | as chat |")
    return "\n".join([*lines, "", *_MORE, ""])


_MORE = (
    "What other tests of `tests/faults` show:",
    "",
    "- **A RAG v2 answer is a stream of text without an end of its own**: one that ends early in good order, or an",
    "  error written into it as text, cannot be told from a whole answer. `ok` there is the contract's blind spot.",
    "- **The service goes away and comes back** (`POST /admin/outage`): requests of the outage are `connection_error`",
    "  rows at the rate at which users try; the first request after it is ok on a new connection.",
    "- **A step of the wall clock** bends no offset: those are monotonic. `started_at` follows the wall clock.",
    "- **A retry** (`retry = exponential`) gives each attempt its own row with the same `call_id`.",
    "- **Redirects** are never followed, so a key reaches no host but the one it was meant for.",
)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        DOC.write_text(render(see(Path(name))), encoding="utf-8")


if __name__ == "__main__":
    main()
