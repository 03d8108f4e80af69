"""What `options` says only in words, as data: each option's default, its unit, and one value to copy.

A test holds the defaults against the settings, and tries each example.
"""

from __future__ import annotations

import difflib
from typing import NamedTuple

from tokenswarm.config.options import BY_NAME, OPTIONS, Option


class OptionDoc(NamedTuple):
    """`default`: what holds when the option is not given, "" when nothing does; `unit`: "" where it has none."""

    default: str
    unit: str
    example: str


INTERNAL = frozenset({"worker-count", "run-directory"})
"""Set by the master for its workers, and for nobody else."""

DOCS: dict[str, OptionDoc] = {
    "env-file": OptionDoc("", "", ".env"),
    "api": OptionDoc("", "", "openai"),
    "targets": OptionDoc("", "", "gpt-4.1 = 3, gpt-4.1-mini = 1"),
    "endpoint": OptionDoc("chat", "", "responses"),
    "headers": OptionDoc("", "", "X-Team: load-tests"),
    "query": OptionDoc("", "", "tenant=blue&trace=1"),
    "route-header": OptionDoc("", "", "x-backend"),
    "send-keys-to": OptionDoc("", "", "https://gateway.example.com"),
    "deployment": OptionDoc("", "", "gpt-5-mini"),
    "api-version": OptionDoc("2024-10-21", "", "2024-10-21"),
    "auth": OptionDoc("key", "", "entra"),
    "auth-scope": OptionDoc("of the API", "", "https://cognitiveservices.azure.com/.default"),
    "ca-file": OptionDoc("", "", "company-ca.pem"),
    "preflight": OptionDoc("full", "", "reach"),
    "tls-verify": OptionDoc("yes", "", "no"),
    "rag-host": OptionDoc("", "", "https://app.example.com"),
    "rag-contract": OptionDoc("v1", "", "v2"),
    "rag-path": OptionDoc("", "", "/api/orc"),
    "rag-body": OptionDoc("", "", '{"client_principal_id": "tester"}'),
    "rag-answer-path": OptionDoc("answer", "", "data.answer"),
    "app-preset": OptionDoc("", "", "ag-ui"),
    "app-path": OptionDoc("", "", "/api/ask"),
    "app-body": OptionDoc("", "", '{"question": "{{question}}", "conversation_id": "{{conversation_id}}"}'),
    "app-stream": OptionDoc("sse", "", "jsonl"),
    "app-text": OptionDoc("", "", "type == 'token' && text"),
    "app-conversation": OptionDoc("", "", "conversation_id"),
    "app-error": OptionDoc("error", "", "type == 'error' && message"),
    "app-end": OptionDoc("", "", "type == 'done'"),
    "app-progress": OptionDoc("", "", "type == 'progress'"),
    "app-usage": OptionDoc("", "", "usage"),
    "shape-profile": OptionDoc("custom", "", "balanced"),
    "context-tokens": OptionDoc("500", "tokens", "uniform(200, 800)"),
    "max-tokens": OptionDoc("", "tokens", "500"),
    "max-tokens-field": OptionDoc("max_tokens", "", "max_completion_tokens"),
    "dataset": OptionDoc("", "", "scenarios/dataset.csv"),
    "requests": OptionDoc("", "", "scenarios/traces/sample-requests.jsonl"),
    "skip-bad": OptionDoc("0", "lines", "10"),
    "dataset-order": OptionDoc("sequential", "", "random"),
    "prompt-prefix": OptionDoc("unique", "", "shared"),
    "shared-prefix-tokens": OptionDoc("0", "tokens", "2048"),
    "documents": OptionDoc("0", "documents", "500"),
    "document-tokens": OptionDoc("1000", "tokens", "uniform(2000, 8000)"),
    "document-zipf": OptionDoc("1", "", "0.8"),
    "prompt-salt": OptionDoc("", "", "20261128T084821Z"),
    "system-prompt": OptionDoc("", "", "You answer in one sentence."),
    "stream": OptionDoc("yes", "", "no"),
    "stream-usage": OptionDoc("yes", "", "no"),
    "temperature": OptionDoc("", "", "0.7"),
    "top-p": OptionDoc("", "", "0.9"),
    "frequency-penalty": OptionDoc("", "", "0.5"),
    "presence-penalty": OptionDoc("", "", "0.5"),
    "n": OptionDoc("", "answers", "2"),
    "extra-body": OptionDoc("", "", '{"top_k": 40}'),
    "images": OptionDoc("", "", "2 of 512x512"),
    "json-schema": OptionDoc("", "", "scenarios/answer-schema.json"),
    "batch-size": OptionDoc("1", "texts", "16"),
    "turns": OptionDoc("1", "turns", "3..12"),
    "earlier-turns": OptionDoc("sent", "", "previous_response_id"),
    "turns-per-conversation": OptionDoc("1", "turns", "3"),
    "steps": OptionDoc("", "steps", "3..12"),
    "tool-time": OptionDoc("", "s", "lognormal(0.1, 0.8)"),
    "tool-results": OptionDoc("", "", "scenarios/tool-results.json"),
    "tool-rounds": OptionDoc("8", "answers", "4"),
    "step-tokens": OptionDoc("", "tokens", "uniform(50, 400)"),
    "fan-out": OptionDoc("1", "steps", "1..4"),
    "history": OptionDoc("", "", "recorded"),
    "think-time": OptionDoc("0", "s", "uniform(1, 2)"),
    "start-conversations-at": OptionDoc("1", "turn", "uniform(1, 4)"),
    "rate": OptionDoc("", "requests/min", "50"),
    "rate-stages": OptionDoc("", "requests/min", "2m:10, 5m:50, 1m:0"),
    "arrivals-of": OptionDoc("requests", "", "sessions"),
    "arrival": OptionDoc("constant", "", "poisson"),
    "arrival-smoothness": OptionDoc("1", "", "0.5"),
    "trace": OptionDoc("", "", "scenarios/traces/sample-azure.csv"),
    "trace-speed": OptionDoc("1", "times", "60"),
    "trace-window": OptionDoc("", "from..to", "0m..1m"),
    "max-lag": OptionDoc("10", "s", "30"),
    "shape": OptionDoc("", "", "step"),
    "stages": OptionDoc("", "users", "by=10, every=1m, to=50"),
    "confirm-load": OptionDoc("no", "", "yes"),
    "seed": OptionDoc("1", "", "42"),
    "abort": OptionDoc("", "", "5 % after uniform(1, 5) s"),
    "retry": OptionDoc("none", "", "exponential"),
    "timeout": OptionDoc("120", "s", "60"),
    "quota-tpm": OptionDoc("", "tokens/min", "200000"),
    "quota-rpm": OptionDoc("", "requests/min", "1200"),
    "ptu": OptionDoc("", "units", "50"),
    "failure-criteria": OptionDoc("", "", "p95(ttft_ms) > 1000; percentage(error) > 1"),
    "auto-stop": OptionDoc("", "", "90% / 60s"),
    "goodput": OptionDoc("", "", "ttft_ms < 1000, tbt_ms < 50"),
    "warm-up": OptionDoc("0", "s", "30"),
    "cool-down": OptionDoc("0", "s", "10"),
    "max-refusals": OptionDoc("10", "requests", "50"),
    "max-total-tokens": OptionDoc("", "tokens", "1000000"),
    "max-total-requests": OptionDoc("", "requests", "100"),
    "max-cost": OptionDoc("", "currency of the prices", "5"),
    "price-table": OptionDoc("", "", "prices.toml"),
    "price-prompt": OptionDoc("", "per million tokens", "2.5"),
    "price-cached": OptionDoc("", "per million tokens", "1.25"),
    "price-completion": OptionDoc("", "per million tokens", "10"),
    "price-ptu-hour": OptionDoc("", "per unit and hour", "1"),
    "search": OptionDoc("", "", "1..64 users"),
    "search-hold": OptionDoc("60", "s", "120"),
    "search-precision": OptionDoc("3", "%", "5"),
    "server-metrics": OptionDoc("", "", "http://127.0.0.1:8000/metrics every=5s"),
    "server-failure-criteria": OptionDoc("", "", "avg(server/queue) > 10"),
    "results-dir": OptionDoc("results", "", "/data/results"),
    "test-name": OptionDoc("", "", "nightly"),
    "web-allowed-hosts": OptionDoc("", "", "load.example.com"),
    "output-format": OptionDoc("human", "", "jsonl"),
    "answers-sample": OptionDoc("0", "%", "5"),
    "prometheus": OptionDoc("none", "", "9464"),
    "report": OptionDoc("yes", "", "no"),
    "output-interval": OptionDoc("10", "s", "2"),
}


def find(word: str | None) -> list[Option]:
    """The options whose name, group or meaning has `word` in it; all without one."""
    wanted = (word or "").lower().removeprefix("--")
    shown = [option for option in OPTIONS if option.name not in INTERNAL]
    return [option for option in shown if wanted in f"{option.name} {option.group} {option.help}".lower()]


def near(word: str) -> list[str]:
    """Names of options that are spelt like `word`."""
    return difflib.get_close_matches(word.removeprefix("--"), [*BY_NAME.keys() - INTERNAL], n=3)


def doc_of(option: Option) -> OptionDoc:
    """What is known of an option."""
    return DOCS.get(option.name, OptionDoc("", "", option.choices[0] if option.choices else "..."))
