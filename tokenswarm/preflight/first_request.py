"""One small request to each target before the load: does the service answer what the run is going to ask?

Stops a start only for what every request of the run would meet: a key, a model, a path or a field that the service
refuses. A service that throttles, fails or takes long has the benefit of the doubt, and is warned about.
"""

from __future__ import annotations

import dataclasses
import random
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tokenswarm.apis.api import Api
from tokenswarm.apis.embeddings import EmbeddingsRequest
from tokenswarm.apis.gpt_rag import GptRagV1, GptRagV2
from tokenswarm.apis.named import api_of, path_of
from tokenswarm.apis.request import ChatRequest, ChatTarget, RagRequest, RagTarget, Request, Sending
from tokenswarm.apps.app import App
from tokenswarm.client.attempt import Caller
from tokenswarm.client.call import Client
from tokenswarm.client.endpoint import Endpoint, FixedEndpoint, extended
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.config.environment import OPENAI_KEY_NAMES
from tokenswarm.config.settings import Settings
from tokenswarm.config.targets import NO_KEY
from tokenswarm.preflight.reachability import chat_targets, check_connection, other_scheme
from tokenswarm.record import Doubt, Outcome, RequestRecord
from tokenswarm.redaction import SECRETS
from tokenswarm.userinput import counted

PATIENCE_S = 30.0
"""Longest wait for the answer, s; a run that allows its requests less waits less here, too."""
MAX_TOKENS = 16
"""Completion tokens asked for: the least that every API takes."""
ID_PREFIX = "preflight-"
"""Begins the request's id in the header `x-ms-client-request-id`: no row has it."""
SWAPPED_FIELD = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
MAX_ADAPTIONS = 2
"""One for each field that may be refused."""
_MODEL_ERRORS = re.compile(r"DeploymentNotFound|model_not_found|not_found_error: model|\bmodel\b", re.IGNORECASE)
_REFUSED = frozenset({400, 422})
KEY = "key: expected one that {host} accepts"
_UNREAD = {Outcome.BAD_PAYLOAD: "app-text", Outcome.TRUNCATED: "app-end"}
"""The option that has found nothing in an application's answer, by what the answer came to."""


@dataclass(slots=True)
class FirstRequests:
    """What the first requests showed. `settings` are the run's, as far as they had to be adapted."""

    settings: Settings
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    """What is sent otherwise than asked for, one sentence each, for the log and run.json."""
    sent: list[RequestRecord] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """What run.json says of them: none of them is among the rows."""
        columns = ("call_id", "target", "outcome", "status", "prompt_tokens", "completion_tokens")
        requests = [{name: getattr(record, name) for name in columns} for record in self.sent]
        return {"requests": requests, "adapted": self.adapted, "warnings": self.warnings}


def try_targets(settings: Settings) -> FirstRequests:
    """Send one request to each target of a run, and a second where the first shows that a field has to change."""
    found = FirstRequests(settings)
    for chat in chat_targets(settings):
        (_try_chat if chat.app is None else _try_app)(found, chat)
    if settings.host is not None:
        found.problems += check_connection("host", settings.host, settings)
    if settings.rag is not None:
        _try_rag(found, settings.rag)
    return found


def _try_chat(found: FirstRequests, target: ChatTarget) -> None:
    record = _ask_chat(found, target)
    while (adaption := _adaption(record, found.settings, target)) is not None and len(found.adapted) < MAX_ADAPTIONS:
        found.settings, said = adaption
        found.adapted.append(said)
        record = _ask_chat(found, target)
    where = chat_endpoint(target, found.settings.sending).at(path_of(target)).url
    key = f"API {KEY}"
    if target.key == NO_KEY:
        looked_for = " and ".join(OPENAI_KEY_NAMES)
        key = f"{key} (no key was given; looked for {looked_for} in the environment and env files)"
    _judge(found, record, where, f"deployment: expected one of {{host}}, got {target.deployment!r}", key)


def _ask_chat(found: FirstRequests, target: ChatTarget) -> RequestRecord:
    settings = found.settings
    body = settings.body.sample(random.Random(settings.seed))
    if target.asks == "embeddings":
        request: Request = EmbeddingsRequest(texts=["Hello"], body=body)
    else:
        request = ChatRequest(
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=MAX_TOKENS,
            max_tokens_field=settings.max_tokens_field,
            stream=settings.stream,
            stream_usage=settings.stream_usage,
            images=settings.images.sample(random.Random(settings.seed)) if settings.images is not None else (),
            body=body,
        )
    return _send(found, api_of(target), chat_endpoint(target, settings.sending), request, "chat")


def _try_app(found: FirstRequests, target: ChatTarget) -> None:
    """An application. Where its answer does not hold what the options look for, they are wrong, and the message shows
    what it did hold."""
    assert isinstance(target.app, App)
    record = _ask_chat(found, target)
    where = chat_endpoint(target, found.settings.sending).at("").url
    host, mapping = urlsplit(where).netloc, target.app.mapping
    if record.outcome in _UNREAD:
        wanted = f"{_UNREAD[record.outcome]}: expected it in what {host} answers"
        found.problems.append(SECRETS.redact(f"{wanted}, got {record.error} (POST {where})"))
        return
    _judge(found, record, where, "app-path: expected one of {host}", f"{KEY} (option headers)")
    if record.outcome is Outcome.OK and mapping.conversation and record.conversation_id is None:
        said = f"app-conversation: expected an id at {mapping.conversation!r} in what {host} answers, got none"
        if "conversation" in mapping.given:
            found.problems.append(said)
        elif (found.settings.turns.mean() or 1) > 1:
            found.warnings.append(said)


def _try_rag(found: FirstRequests, target: RagTarget) -> None:
    api = GptRagV1(target.body, target.answer_path) if target.contract == "v1" else GptRagV2(target.body)
    endpoint = extended(FixedEndpoint(target.url, target.headers), found.settings.sending)
    record = _send(found, api, endpoint, RagRequest(question="Hello"), "rag")
    _judge(found, record, target.url, "orchestrator path: expected one of {host}", f"orchestrator {KEY}")


def _send(found: FirstRequests, api: Api[Any], endpoint: Endpoint, request: Request, target: str) -> RequestRecord:
    sending = found.settings.sending
    once: Sending = dataclasses.replace(sending, timeout_s=min(sending.timeout_s, PATIENCE_S), retry="none")
    client: Client[Any] = Client(api, endpoint, once, Caller("preflight", 0, target, id_prefix=ID_PREFIX))
    try:
        record = client.call(request, lambda _: None).record
    finally:
        client.close()
    found.sent.append(record)
    return record


def _adaption(record: RequestRecord, settings: Settings, target: ChatTarget) -> tuple[Settings, str] | None:
    """The settings that a service may take in place of those it refused, and what is then sent otherwise; `None` where
    nothing can be changed."""
    if (swapped := swapped_limit(record, settings.max_tokens_field)) is not None:
        said = f"the limit of completion tokens is sent as {swapped}: the service refuses {settings.max_tokens_field}"
        return dataclasses.replace(settings, max_tokens_field=swapped), said
    asks_usage = settings.stream and settings.stream_usage and target.asks in ("chat", "completions")
    if asks_usage and _refuses(record, "stream_options"):
        said = (
            "stream_options is left out: the service refuses it, so streams have no token counts unless it sends "
            "them of itself (stream = no has them)"
        )
        return dataclasses.replace(settings, stream_usage=False), said
    return None


def _refuses(record: RequestRecord, field_name: str) -> bool:
    """Whether a request was refused with an error that names a field."""
    return record.status in _REFUSED and re.search(rf"\b{field_name}\b", record.error or "") is not None


def swapped_limit(record: RequestRecord, field_name: str) -> str | None:
    """The field that a service wants the limit in, where it refuses the one it got; `None` where it does not."""
    return SWAPPED_FIELD[field_name] if _refuses(record, field_name) else None


def _judge(found: FirstRequests, record: RequestRecord, url: str, missing: str, key: str) -> None:
    """Sort what came back into what stops a start and what is only said."""
    host, status = urlsplit(url).netloc, record.status
    error = record.error if url in (record.error or "") else f"{record.error} (POST {url})"
    if record.outcome is Outcome.OK:
        if Doubt.WHOLE in (record.doubts or ""):
            found.warnings.append(f"{host} answers in one body though a stream is asked for: no TTFT, no TBT.")
        return
    hint = other_scheme(url, record.error or "", found.settings)
    if record.outcome is Outcome.CONNECTION_ERROR and (record.connect_ms is None or hint):
        found.problems.append(f"endpoint: expected a connection to {host}, got none ({record.error}{hint})")
    elif status in (401, 403):
        found.problems.append(f"{key.format(host=host)}, got {error}")
    elif status == 404 and _MODEL_ERRORS.search(error or ""):
        found.problems.append(f"{missing.format(host=host)}, which it does not have ({error})")
    elif status in (404, 405):
        found.problems.append(f"endpoint: expected a path that {host} answers, got {error}")
    elif status in _REFUSED:
        found.problems.append(f"request: expected one that {host} accepts, got {error}")
    else:
        found.warnings.append(f"The first request to {host} was not answered as it should be: {record.error}")


def describe_cost(records: list[RequestRecord]) -> str | None:
    """What the first requests cost, in words; `None` when none was sent."""
    if not records:
        return None
    tokens = [record.total_tokens for record in records if record.total_tokens is not None]
    said = f"{sum(tokens)} tokens" if tokens else "tokens unknown"
    return f"{counted(len(records), 'small request')} sent to see whether the target answers ({said})"
