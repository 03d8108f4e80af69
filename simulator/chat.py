"""The chat target: Azure OpenAI's addresses and the plain OpenAI one, from the request to the last byte."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import hmac
import re
import time
import uuid
from collections import defaultdict
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from simulator import limits, wire
from simulator.engine import Engine, Full
from simulator.exchange import Exchange, Gone
from simulator.latency import Answer, load_multiplier, plan_answer, seeded
from simulator.limits import Charge
from simulator.live import LiveSettings
from simulator.request import ChatRequest, Refused, check_prompt, parse_chat, parse_json
from simulator.settings import Deployment, Settings
from simulator.shared import SharedState
from simulator.tokens import prefixes
from simulator.truth import INTERNAL_HEADER, TruthLog

API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")

VERDICT_EVERY = 10
"""Content chunks between two verdicts of the asynchronous content filter."""

WAIT_WHEN_FULL_S = 20.0
"""What a request is told that found every place in the line taken."""


class ChatTarget:
    """An ASGI application for one style of address: `azure` (deployment in the path), `azure-v1` or `openai`."""

    def __init__(self, style: str, live: LiveSettings, shared: SharedState, truth: TruthLog, work: ChatWork) -> None:
        self._style = style
        self._live = live
        self._shared = shared
        self._truth = truth
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        entry = exchange.entry
        entry.update(target="chat", request_id=str(uuid.uuid4()), internal=INTERNAL_HEADER in exchange.headers)
        self._truth.in_flight += 1
        try:
            await self._answer_or_refuse(exchange)
        except Gone:
            entry.update(outcome="client_gone")
        except asyncio.CancelledError:
            entry.update(outcome="cut", reason="shutdown")
            raise
        finally:
            entry.setdefault("outcome", "ok")
            entry.setdefault("finished_at", time.time())
            self._truth.in_flight -= 1
            self._truth.write(entry)

    async def _answer_or_refuse(self, exchange: Exchange) -> None:
        settings = self._live.current
        try:
            await self._answer(exchange, settings)
        except Refused as refused:
            entry, refusal = exchange.entry, refused.refusal
            entry["outcome"] = "throttled" if refusal.status == 429 else "http_error"
            entry["reason"] = refused.reason
            headers = self._headers(exchange, settings) | refused.headers
            await exchange.respond(refusal.status, headers, refusal.body)

    async def _answer(self, exchange: Exchange, settings: Settings) -> None:
        body = await exchange.read_body()
        self._authorize(exchange, settings)
        api_version = self._api_version(exchange)
        parsed = parse_json(body)
        name, deployment = self._deployment(exchange, settings, parsed)
        exchange.entry["deployment"] = name
        request = parse_chat(parsed, deployment)
        engine = self._work.engines[name]
        known = prefixes(request.pieces) if deployment.prompt_cache else []
        cached = engine.cache.look_up(known)
        output = (request.max_tokens or deployment.assumed_max_tokens) * request.n
        estimate = Charge(request.prompt_tokens, cached, output)
        exchange.entry.update(
            stream=request.stream,
            prompt_tokens=request.prompt_tokens,
            cached_tokens=cached,
            max_tokens=request.max_tokens,
            estimated_tokens=estimate.total,
            tokens_per_chunk=deployment.tokens_per_chunk if request.stream else None,
        )
        headers = self._admit(exchange, settings, name, deployment, estimate, api_version)
        engine.cache.remember(known)
        try:
            check_prompt(parsed, request, deployment)
            digest = hashlib.blake2b(body, digest_size=16).hexdigest()
            rng = seeded(settings.seed, name, digest, engine.occurrence(digest))
            headers = self._headers(exchange, settings) | headers
            await self._generate(exchange, engine, name, deployment, request, rng, headers)
        finally:
            entry = exchange.entry
            actual = Charge(request.prompt_tokens, cached, entry.get("completion_tokens") or 0)
            if deployment.ptu is not None:
                with self._shared.locked(name) as state:
                    limits.settle(deployment, state, time.time(), estimate, actual)

    def _authorize(self, exchange: Exchange, settings: Settings) -> None:
        key = exchange.headers.get("api-key")
        scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
        if key is not None and hmac.compare_digest(key.encode(), settings.api_key.encode()):
            return
        if scheme.lower() == "bearer":
            for accepted in (settings.api_key, settings.entra_token):
                if hmac.compare_digest(token.strip().encode(), accepted.encode()):
                    return
        raise Refused(wire.UNAUTHORIZED, reason="credentials")

    def _api_version(self, exchange: Exchange) -> str | None:
        if self._style != "azure":
            return None
        version: str = parse_qs(exchange.scope["query_string"].decode("latin-1")).get("api-version", [""])[0]
        if not API_VERSION.fullmatch(version):
            raise Refused(wire.NO_RESOURCE, reason="api_version")
        return version

    def _deployment(self, exchange: Exchange, settings: Settings, parsed: dict[str, Any]) -> tuple[str, Deployment]:
        name: object
        if self._style == "azure":
            name = str(exchange.scope["path_params"]["deployment"])
        else:
            name = parsed.get("model")
            if not isinstance(name, str):
                raise Refused(wire.invalid("you must provide a model parameter", "model"))
        deployment = settings.deployments.get(name)
        if deployment is None:
            refusal = wire.no_model(name) if self._style == "openai" else wire.NO_DEPLOYMENT
            raise Refused(refusal, reason="deployment")
        return name, deployment

    def _admit(
        self,
        exchange: Exchange,
        settings: Settings,
        name: str,
        deployment: Deployment,
        estimate: Charge,
        api_version: str | None,
    ) -> dict[str, str]:
        """Pass the limiter: the headers that tell what is left. Raises Refused (429)."""
        if deployment.tpm is None and deployment.ptu is None:
            return {}
        with self._shared.locked(name) as state:
            # The limiter goes by the instant at which the request was there, not by when Python got to it.
            decision = limits.admit(deployment, state, exchange.entry["received_at"], estimate)
        exchange.entry["utilization_pct"] = decision.utilization_pct
        if not decision.admitted:
            assert decision.reason is not None and decision.retry_after_s is not None
            refusal = wire.throttled(
                deployment, name, settings.region, decision.reason, decision.retry_after_s, api_version
            )
            kind = {"tokens": "Token", "requests": "Call"}.get(decision.reason)
            policy = {"policy-id": f"DeploymentRatelimit-{kind}"} if kind else {}
            raise Refused(refusal, decision.headers | policy, decision.reason)
        return decision.headers

    async def _generate(
        self,
        exchange: Exchange,
        engine: Engine,
        name: str,
        deployment: Deployment,
        request: ChatRequest,
        rng: Any,
        headers: dict[str, str],
    ) -> None:
        """Wait for a place, plan the answer and send it at its pace."""
        base = time.monotonic() - max(0.0, time.time() - exchange.entry["received_at"])
        if engine.places.taken >= deployment.max_concurrent:
            base = 0.0
        try:
            await engine.places.take(deployment.max_concurrent, deployment.max_waiting)
        except Full:
            refusal = wire.throttled(deployment, name, "", "capacity", WAIT_WHEN_FULL_S, None)
            raise Refused(refusal, {"retry-after": str(int(WAIT_WHEN_FULL_S))}, "capacity") from None
        try:
            multiplier = load_multiplier(deployment, engine.places.taken - 1)
            uncached = request.prompt_tokens - exchange.entry["cached_tokens"]
            answers = [
                plan_answer(deployment, rng, uncached, request.max_tokens, multiplier) for _ in range(request.n)
            ]
            identity = wire.Identity(
                id=f"chatcmpl-{rng.getrandbits(140):035x}",
                created=int(time.time()),
                model=deployment.model,
                fingerprint=f"fp_{rng.getrandbits(40):010x}",
                include_usage=request.include_usage,
                azure=self._style != "openai",
            )
            deliver = _stream if request.stream else _send_whole
            await deliver(exchange, deployment, request, identity, answers, rng, headers, base or time.monotonic())
        finally:
            engine.places.leave()

    def _headers(self, exchange: Exchange, settings: Settings) -> dict[str, str]:
        entry = exchange.entry
        return wire.answer_headers(
            entry["request_id"], entry["client_request_id"], settings.region, entry.get("deployment") or ""
        )


class ChatWork:
    """The engines of one process, shared by the styles of address."""

    def __init__(self) -> None:
        self.engines: defaultdict[str, Engine] = defaultdict(Engine)


async def _send_whole(
    exchange: Exchange,
    deployment: Deployment,
    request: ChatRequest,
    identity: wire.Identity,
    answers: list[Answer],
    rng: Any,
    headers: dict[str, str],
    base: float,
) -> None:
    """A completion in one body, when its last token is there."""
    await exchange.sleep_until(base + max(answer.end_ms for answer in answers) / 1e3)
    used = _usage(exchange, request, answers)
    await exchange.respond(200, headers, wire.completion_body(identity, answers, used))
    at = exchange.entry["finished_at"]
    exchange.entry.update(first_token_at=at, last_token_at=at)
    exchange.entry.update(completion_tokens=used["completion_tokens"], reasoning_tokens=_reasoning(answers))


async def _stream(
    exchange: Exchange,
    deployment: Deployment,
    request: ChatRequest,
    identity: wire.Identity,
    answers: list[Answer],
    rng: Any,
    headers: dict[str, str],
    base: float,
) -> None:
    """Events at their instants: verdict on the prompt, role, content, finish, usage, [DONE]."""
    entry = exchange.entry
    await exchange.start(
        200, {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no", **headers}
    )
    if identity.azure:
        await exchange.write(wire.prompt_filter_event())
    padded = deployment.obfuscation if request.include_obfuscation is None else request.include_obfuscation
    verdicts = deployment.content_filter != "async"
    writers = [
        wire.ContentEvents(identity, index, verdicts, rng if padded else None) for index in range(len(answers))
    ]
    pending = b"".join(identity.role_event(index) for index in range(len(answers)))
    lengths = [0] * len(answers)
    entry.update(chunks=0, completion_tokens=0, reasoning_tokens=0)
    for due_ms, index, chunk in _in_order(answers):
        await exchange.sleep_until(base + due_ms / 1e3)
        if pending:
            await exchange.write(pending)
            pending = b""
            entry["completion_tokens"] = entry["reasoning_tokens"] = _reasoning(answers)
        at = await exchange.write(writers[index].event(chunk.text))
        if entry["chunks"] == 0:
            entry["first_token_at"] = at
        entry["last_token_at"] = at
        entry["chunks"] += 1
        entry["completion_tokens"] += chunk.tokens
        lengths[index] += len(chunk.text)
        if not verdicts and entry["chunks"] % VERDICT_EVERY == 0:
            pending = wire.async_verdict_event(index, 0, lengths[index])
            await exchange.write(pending)
            pending = b""
    await exchange.sleep_until(base + max(answer.end_ms for answer in answers) / 1e3)
    used = _usage(exchange, request, answers)
    entry.update(completion_tokens=used["completion_tokens"], reasoning_tokens=_reasoning(answers))
    ending = [identity.finish_event(index, answer.finish_reason) for index, answer in enumerate(answers)]
    if not verdicts:
        ending += [wire.async_verdict_event(index, 0, length) for index, length in enumerate(lengths)]
    if request.include_usage:
        ending.append(identity.usage_event(used))
    entry["finished_at"] = await exchange.write(pending + b"".join(ending) + wire.DONE, more=False)


def _in_order(answers: list[Answer]) -> Any:
    """The chunks of all choices by the instant at which they are due."""
    return heapq.merge(
        *([(chunk.due_ms, index, chunk) for chunk in answer.chunks] for index, answer in enumerate(answers)),
        key=lambda item: item[0],
    )


def _reasoning(answers: list[Answer]) -> int:
    return sum(answer.reasoning_tokens for answer in answers)


def _usage(exchange: Exchange, request: ChatRequest, answers: list[Answer]) -> dict[str, Any]:
    return wire.usage(
        request.prompt_tokens,
        exchange.entry["cached_tokens"],
        sum(answer.completion_tokens for answer in answers),
        _reasoning(answers),
    )
