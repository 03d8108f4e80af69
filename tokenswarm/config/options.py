"""Every command-line option that Tokenswarm adds to Locust, once.

Each is also a scenario key and a `LOCUST_...` environment variable, and (unless hidden) a field of the web form.
All are texts without a default here, so that "not given" can be told from a value; `settings` gives defaults and
checks everything together.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # importing Locust patches the process; whoever only looks options up needs none of that
    from locust.argument_parser import LocustArgumentParser


class Option(NamedTuple):
    """One option: its name without dashes in front, what it does, its allowed values, whether the web form has it,
    whether its value names a file to read, and whether values given one by one are one list (else the last holds)."""

    name: str
    group: str
    help: str
    choices: tuple[str, ...] = ()
    in_form: bool = True
    is_file: bool = False
    is_joined: bool = False

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return "LOCUST_" + self.attribute.upper()


YES_NO = ("yes", "no")

WEB_HOST = "127.0.0.1"
"""Locust would bind its web UI to every interface, and whoever reaches it can start a load with our keys."""

OPTIONS: tuple[Option, ...] = (
    Option("env-file", "target",
           "dotenv or parameter file(s) with endpoint and keys, comma-separated or each with its own --env-file; where "
           "two have a name, the later one's value holds", in_form=False, is_joined=True),
    Option("api", "target", "chat API: inferred from the endpoint when not given", ("azure", "azure-v1", "openai")),
    Option("deployment", "target", "deployment (Azure) or model name"),
    Option("targets", "target",
           "several deployments or models at once: by weight (gpt-4.1 = 3, gpt-4.1-mini @ https://other.example = 1), "
           "or by priority (first > second, for what the first refuses)"),
    Option("endpoint", "target",
           "what the service is asked: chat completions (default), responses, embeddings, completions of a prompt, "
           "Anthropic's messages, or an application in its own format (app)",
           ("chat", "responses", "embeddings", "completions", "messages", "app")),
    Option("headers", "target", "further headers: Name: value; Name: ${NAME of the environment}, or a JSON object",
           in_form=False),
    Option("query", "target", "further query parameters, as name=value&name=value", in_form=False),
    Option("route-header", "target",
           "response header that names the backend which served a request; default x-ms-deployment-name",
           in_form=False),
    Option("api-version", "target", "Azure OpenAI api-version of the deployments URL; default 2024-10-21"),
    Option("auth", "target", "key from the environment, or an Entra token", ("key", "entra")),
    Option("send-keys-to", "target", "further URLs that may be given the keys of the environment, comma-separated",
           in_form=False),
    Option("auth-scope", "target",
           "scope of the Entra token: https://ai.azure.com/.default for azure-v1, else "
           "https://cognitiveservices.azure.com/.default, each in the resource's cloud", in_form=False),
    Option("ca-file", "target", "PEM file with the certificate authorities to trust", in_form=False),
    Option("preflight", "target",
           "before the start: one small request to each target (full, the default), reach it only, or none",
           ("full", "reach", "none"), in_form=False),
    Option("tls-verify", "target", "no: accept any certificate; every report says so", YES_NO, in_form=False),
    Option("rag-host", "target", "orchestrator URL where it is not the host"),
    Option("rag-contract", "target", "orchestrator contract: v1 /api/orc (default) or v2 /orchestrator", ("v1", "v2")),
    Option("rag-path", "target", "path of another orchestrator", in_form=False),
    Option("rag-body", "target", "JSON object with further body fields of the question", in_form=False),
    Option("rag-answer-path", "target", "dotted path of the answer in the orchestrator's JSON", in_form=False),
    Option("app-preset", "app",
           "a mapping that is known, for what the other options of this group do not say; docs/app.md shows each"),
    Option("app-path", "app", "path below the host at which questions are posted"),
    Option("app-body", "app",
           "JSON template of a question: {{question}}, {{messages}}, {{conversation_id}} and others stand in its texts",
           in_form=False),
    Option("app-stream", "app",
           "how the answer comes: server-sent events (default), JSON lines, text, one JSON body, or on a WebSocket",
           ("sse", "jsonl", "text", "json", "websocket")),
    Option("app-text", "app", "JMESPath of the answer's text in an event (or the JSON body)", in_form=False),
    Option("app-conversation", "app",
           "JMESPath of the conversation's id, to be sent with the next turn; or header:NAME; of a text stream, a "
           "regular expression that its beginning has to match", in_form=False),
    Option("app-error", "app",
           "JMESPath that finds something in an event that is an error; of a text stream, a regular expression",
           in_form=False),
    Option("app-end", "app",
           "JMESPath that finds something in the event that ends an answer; without, the end of the body is its end",
           in_form=False),
    Option("app-progress", "app",
           "JMESPath that finds something in an event of progress before the answer, such as a search", in_form=False),
    Option("app-usage", "app", "JMESPath of an object with token counts, as OpenAI or Anthropic name them",
           in_form=False),
    Option("shape-profile", "request",
           "prompt/completion tokens: balanced 500/500, context 2000/200, generation 500/1000",
           ("balanced", "context", "generation", "custom")),
    Option("context-tokens", "request",
           "prompt tokens: 500, uniform(200, 800), normal(500, 150), lognormal(6.2, 0.5), dataset, trace"),
    Option("max-tokens", "request", "completion tokens asked for: a number or a distribution as for context-tokens"),
    Option("extra-body", "request",
           "JSON object of further body fields; a value such as uniform(1, 5) is drawn for each request",
           in_form=False),
    Option("images", "request",
           "images behind each prompt: made (1024x768, 3 of 512x512) or of files (2 of a.png, b.jpg)"),
    Option("json-schema", "request", "file with the JSON schema that answers must have", is_file=True),
    Option("batch-size", "request", "endpoint = embeddings: texts in a request, a number or a distribution; default 1"),
    Option("max-tokens-field", "request", "body field of the limit; max_completion_tokens for reasoning models",
           ("max_tokens", "max_completion_tokens")),
    Option("dataset", "request", "CSV of questions or JSONL of conversations", is_file=True),
    Option("requests", "request",
           "recorded requests to send again, as they are: OpenAI's Batch JSONL, a body a line, or "
           "ShareGPT's conversations", is_file=True),
    Option("skip-bad", "request", "lines of requests that may be left out because they are no requests; default 0"),
    Option("dataset-order", "request", "order of questions; default sequential", ("sequential", "random")),
    Option("prompt-prefix", "request",
           "unique: no prompt is served from the prompt cache; shared: all may be", ("unique", "shared")),
    Option("shared-prefix-tokens", "request",
           "tokens at the beginning of each made-up prompt that all prompts have alike; part of context-tokens; "
           "default 0"),
    Option("documents", "request",
           "how many documents made-up prompts, or conversations, are about: one of them follows the shared prefix; "
           "default 0"),
    Option("document-tokens", "request",
           "tokens of a document, part of context-tokens: a number or a distribution; default 1000"),
    Option("document-zipf", "request",
           "how unevenly documents are asked about: the n-th in proportion to n to the power of minus this; "
           "0: all alike; default 1"),
    Option("prompt-salt", "request",
           "what made-up prompts depend on beside the seed; default another for each run, so that none meets in a "
           "prompt cache what the run before has left there", in_form=False),
    Option("system-prompt", "request", "system message put first"),
    Option("stream", "request", "stream the answer (default) or ask for it whole", YES_NO),
    Option("stream-usage", "request",
           "ask for token counts in streams (default); no: for servers that refuse stream_options", YES_NO),
    Option("temperature", "request", "sampling temperature, 0 to 2"),
    Option("top-p", "request", "nucleus sampling, 0 to 1"),
    Option("frequency-penalty", "request", "-2 to 2"),
    Option("presence-penalty", "request", "-2 to 2"),
    Option("n", "request", "answers per request"),
    Option("turns", "request", "turns of a conversation, history fed back: 5, 3..12 or a distribution; default 1"),
    Option("earlier-turns", "request",
           "endpoint = responses: a conversation's earlier turns are sent again (sent, the default), or named by the "
           "last answer's id (previous_response_id)", ("sent", "previous_response_id")),
    Option("turns-per-conversation", "request", "same as turns, for the orchestrator's conversations"),
    Option("steps", "request",
           "steps of an agent's session, one after another: 3..12 or a distribution; sessions arrive, not requests"),
    Option("tool-time", "request", "seconds between an answer and the session's next request; default think-time"),
    Option("tool-results", "request",
           "JSON file of what the tools of extra-body give: name, result, time; an answer that calls them is "
           "followed by a request with their results, until one calls none", is_file=True),
    Option("tool-rounds", "request", "so many answers of a turn may call tools; default 8"),
    Option("step-tokens", "request",
           "tokens that each further turn or step adds besides the answer; default context-tokens"),
    Option("fan-out", "request",
           "steps that an agent has under way at once after each answer: 1..4 or a distribution; the next step has the "
           "answers of all of them; default 1"),
    Option("history", "request",
           "what was said before in a conversation: the service's answers (answered) or those of the file (recorded); "
           "default answered, of recorded requests recorded", ("answered", "recorded")),
    Option("think-time", "request", "seconds a user waits after an answer: 1, uniform(1, 2), ...; default 0"),
    Option("start-conversations-at", "request", "turn at which users begin, so that not all are in their first"),
    Option("rate", "load", "open load: requests per minute offered by all users together"),
    Option("rate-stages", "load", "open load: 2m:10, 5m:50, 1m:0 (requests per minute, linear in between)"),
    Option("arrivals-of", "load",
           "what rate, rate-stages, trace or timestamps are of: requests (default), or sessions, whose next request "
           "follows the answer after think-time", ("requests", "sessions")),
    Option("arrival", "load", "spacing of open arrivals; default constant", ("constant", "poisson", "gamma")),
    Option("arrival-smoothness", "load", "gamma shape: below 1 burstier than poisson, above smoother"),
    Option("trace", "load", "open load: replay this trace (Azure, BurstGPT, Mooncake or Bailian format)", is_file=True),
    Option("trace-speed", "load", "replay a trace, or requests with timestamps, so many times faster; default 1"),
    Option("trace-window", "load", "part of the trace, or of the requests: 10m..20m"),
    Option("max-lag", "load", "seconds an arrival waits for a free user before it is dropped; default 10"),
    Option("shape", "load", "closed load over time", ("stages", "spike", "step", "soak", "thread-group")),
    Option("stages", "load", "users over time for shape: 1m:10, 5m:10, 1m:0; other shapes: see docs/scenarios.md"),
    Option("confirm-load", "load",
           "yes: more than 500 users, 3000 requests/min or 5M tokens are meant, for a host other than this", YES_NO),
    Option("seed", "load", "seed of arrivals, prompts and draws; default 1"),
    Option("abort", "call",
           "share of users who leave before their answer has ended, and when: 5 % after uniform(1, 5) s"),
    Option("retry", "call", "none, or exponential (60 s at most, honours retry-after)", ("none", "exponential")),
    Option("timeout", "call", "seconds until a request is given up; default 120"),
    Option("quota-tpm", "quota", "tokens per minute the deployment may use"),
    Option("quota-rpm", "quota", "requests per minute the deployment may use"),
    Option("ptu", "quota", "provisioned throughput units of the deployment, paid for by the hour"),
    Option("failure-criteria", "verdict", "criteria that fail the run: p95(ttft_ms) > 1000; percentage(error) > 1"),
    Option("auto-stop", "verdict", "stop at an error share: 90% / 60s; disable"),
    Option("max-refusals", "verdict",
           "stop after so many identical refusals in a row without one answer; default 10; 0: never"),
    Option("goodput", "verdict", "limits of a good request: ttft_ms < 1000, tbt_ms < 50"),
    Option("warm-up", "verdict", "seconds at the start left out of the figures; default 0"),
    Option("cool-down", "verdict", "seconds at the end left out of the figures; default 0"),
    Option("max-total-tokens", "verdict", "stop when so many tokens were used"),
    Option("max-total-requests", "verdict", "stop when so many requests were sent"),
    Option("max-cost", "verdict", "stop when used tokens, or units and what they passed on, have cost so much"),
    Option("price-table", "verdict", "TOML file of prices by model; default: the list prices that come with this",
           in_form=False),
    Option("price-prompt", "verdict", "price of a million prompt tokens, in place of the table's"),
    Option("price-cached", "verdict", "price of a million prompt tokens that came from the prompt cache"),
    Option("price-completion", "verdict", "price of a million completion tokens"),
    Option("price-ptu-hour", "verdict", "price of a provisioned unit and hour"),
    Option("search", "search", "capacity search: 10..600 rpm (or no unit), 10..200 sessions a minute, 1..64 users"),
    Option("search-hold", "search", "seconds each level of the capacity search is held; default 60"),
    Option("search-precision", "search", "percent between the level that holds and the one that breaks; default 3"),
    Option("server-metrics", "results", "server metrics to keep beside the client's: see docs/azure.md", in_form=False),
    Option("server-failure-criteria", "verdict", "criteria on server metrics, judged by azure-metrics", in_form=False),
    Option("results-dir", "results", "where run directories go; default results", in_form=False),
    Option("test-name", "results", "name of the run directory's parent; default the scenario's name"),
    Option("output-format", "results",
           "headless: human (default), jsonl, or Locust's own tables", ("human", "jsonl", "locust"), in_form=False),
    Option("answers-sample", "results",
           "percent of the answers whose text is kept in answers.jsonl, with secrets taken out; default 0"),
    Option("prometheus", "results", "[host:]port where a Prometheus server reads the run's figures; default none",
           in_form=False),
    Option("report", "results", "headless: make the report at the end", YES_NO, in_form=False),
    Option("output-interval", "results", "headless: seconds between two lines; default 10", in_form=False),
    Option("web-allowed-hosts", "results", "further names of the web UI, of a proxy in front of it: load.example.com",
           in_form=False),
    Option("worker-count", "results", "set by the master for its workers", in_form=False),
    Option("run-directory", "results", "set by the master for its workers", in_form=False),
)  # fmt: skip

BY_NAME = {option.name: option for option in OPTIONS}


class _Join(argparse.Action):
    """What is given several times is one comma-separated list, in order."""

    def __call__(self, _parser: object, namespace: argparse.Namespace, value: object, _flag: object = None) -> None:
        earlier = getattr(namespace, self.dest)
        setattr(namespace, self.dest, f"{earlier},{value}" if earlier else value)


def add_options(parser: LocustArgumentParser) -> None:
    """Listener of Locust's `init_command_line_parser`."""
    for option in OPTIONS:
        arguments: dict[str, object] = {"env_var": option.variable, "default": None, "help": option.help}
        if option.choices:
            arguments["choices"] = ["", *option.choices]
        if not option.in_form:
            arguments["include_in_web_ui"] = False
        if option.is_joined:
            arguments["action"] = _Join
        parser.add_argument(f"--{option.name}", **arguments)
    parser.set_defaults(web_host=WEB_HOST)
