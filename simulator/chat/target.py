"""The chat target: Azure OpenAI's addresses and the plain OpenAI one, from the request to the last byte."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import re
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from simulator.chat import limits
from simulator.chat.delivery import Delivery
from simulator.chat.deployment import Engine, Full
from simulator.chat.latency import load_multiplier, plan_answer, seeded
from simulator.chat.limits import Charge
from simulator.chat.request import ChatRequest, Refused, check_prompt, parse_chat, parse_json
from simulator.chat.tokens import Prefix, prefixes
from simulator.config.fault_specs import FAULT_HEADER, Fault, parse_fault, pick_fault
from simulator.config.live import LiveSettings
from simulator.config.settings import Deployment, Settings
from simulator.config.shared import SharedState
from simulator.truth.log import INTERNAL_HEADER, TruthLog
from simulator.wire import azure as wire
from simulator.wire.exchange import Exchange, Gone
from simulator.wire.fault_injection import arm

API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")

WAIT_WHEN_FULL_S = 20.0
"""What a request is told that found every place in the line taken."""


class ChatWork:
    """The engines of one process, shared by the styles of address."""

    def __init__(self) -> None:
        self.engines: defaultdict[str, Engine] = defaultdict(Engine)

    def gauges(self) -> dict[str, list[int]]:
        """By deployment: requests at work, requests waiting for a place."""
        return {name: [engine.places.taken, engine.places.waiting] for name, engine in self.engines.items()}


@dataclass(frozen=True, slots=True)
class Job:
    """A well-formed request to a deployment that exists."""

    exchange: Exchange
    parsed: dict[str, Any]
    request: ChatRequest
    name: str
    deployment: Deployment
    engine: Engine
    prefixes: list[Prefix]
    cached_tokens: int
    rng: random.Random

    @property
    def estimate(self) -> Charge:
        """What the limiter charges before anything is generated."""
        output = (self.request.max_tokens or self.deployment.assumed_max_tokens) * self.request.n
        return Charge(self.request.prompt_tokens, self.cached_tokens, output)

    @property
    def used(self) -> Charge:
        """What was generated until now."""
        completion = self.exchange.entry.get("completion_tokens") or 0
        return Charge(self.request.prompt_tokens, self.cached_tokens, completion)


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
        except Exception:
            entry.update(outcome="cut" if exchange.started else "http_error", reason="internal error")
            entry.setdefault("status", 500)
            raise
        finally:
            entry.setdefault("outcome", "ok")
            entry.setdefault("finished_at", time.time())
            entry.update(exchange.struck)
            self._truth.in_flight -= 1
            self._truth.write(entry)

    async def _answer_or_refuse(self, exchange: Exchange) -> None:
        settings = self._live.current
        try:
            body = await exchange.read_body()
            self._authorize(exchange, settings)
            api_version = self._api_version(exchange)
            job = self._accept(exchange, settings, body)
            if (fault := self._fault(job)) is not None:
                await arm(exchange, fault).answer_instead()
            await self._answer(job, settings, api_version)
        except Refused as refused:
            entry, refusal = exchange.entry, refused.refusal
            entry["outcome"] = "throttled" if refusal.status == 429 else "http_error"
            entry["reason"] = refused.reason
            headers = _headers(exchange, settings) | refused.headers
            await exchange.respond(refusal.status, headers, refusal.body)

    def _authorize(self, exchange: Exchange, settings: Settings) -> None:
        """The key in either header, or the token. Raises Refused."""
        scheme, _, token = exchange.headers.get("authorization", "").partition(" ")
        given = [(exchange.headers.get("api-key", ""), settings.api_key)]
        if scheme.lower() == "bearer":
            given += [(token.strip(), settings.api_key), (token.strip(), settings.entra_token)]
        if not any([hmac.compare_digest(one.encode(), accepted.encode()) for one, accepted in given]):
            raise Refused(wire.UNAUTHORIZED, reason="credentials")

    def _api_version(self, exchange: Exchange) -> str | None:
        if self._style != "azure":
            return None
        version: str = parse_qs(exchange.scope["query_string"].decode("latin-1")).get("api-version", [""])[0]
        if not API_VERSION.fullmatch(version):
            raise Refused(wire.NO_RESOURCE, reason="api_version")
        return version

    def _accept(self, exchange: Exchange, settings: Settings, body: bytes) -> Job:
        """Understand the request. Raises Refused."""
        parsed = parse_json(body)
        name, deployment = self._deployment(exchange, settings, parsed)
        exchange.entry["deployment"] = name
        request = parse_chat(parsed, deployment)
        engine = self._work.engines[name]
        known = prefixes(request.pieces) if deployment.prompt_cache else []
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        rng = seeded(settings.seed, name, digest, engine.occurrence(digest))
        job = Job(exchange, parsed, request, name, deployment, engine, known, engine.cache.look_up(known), rng)
        exchange.entry.update(
            stream=request.stream,
            prompt_tokens=request.prompt_tokens,
            cached_tokens=job.cached_tokens,
            max_tokens=request.max_tokens,
            estimated_tokens=job.estimate.total,
            tokens_per_chunk=deployment.tokens_per_chunk if request.stream else None,
        )
        return job

    def _deployment(self, exchange: Exchange, settings: Settings, parsed: dict[str, Any]) -> tuple[str, Deployment]:
        in_path = self._style == "azure"
        name = exchange.scope["path_params"]["deployment"] if in_path else parsed.get("model")
        if not isinstance(name, str):
            raise Refused(wire.invalid("you must provide a model parameter", "model"))
        deployment = settings.deployments.get(name)
        if deployment is None:
            refusal = wire.no_model(name) if self._style == "openai" else wire.NO_DEPLOYMENT
            raise Refused(refusal, reason="deployment")
        return name, deployment

    def _fault(self, job: Job) -> Fault | None:
        """The fault that the request asks for or that its deployment has for it."""
        asked = job.exchange.headers.get(FAULT_HEADER)
        if asked is None:
            return pick_fault(job.deployment.faults, job.rng, self._live.uptime_s)
        try:
            return parse_fault(asked)
        except ValueError as error:
            raise Refused(wire.invalid(f"{FAULT_HEADER}: {error}", FAULT_HEADER), reason="fault") from error

    async def _answer(self, job: Job, settings: Settings, api_version: str | None) -> None:
        """Pass the limiter, generate, and settle what was really used."""
        quota = self._admit(job, settings, api_version)
        job.engine.cache.remember(job.prefixes)
        try:
            check_prompt(job.parsed, job.request, job.deployment)
            await self._generate(job, settings, _headers(job.exchange, settings) | quota)
        finally:
            if job.deployment.ptu is not None:
                with self._shared.locked(job.name) as state:
                    limits.settle(job.deployment, state, time.time(), job.estimate, job.used)

    def _admit(self, job: Job, settings: Settings, api_version: str | None) -> dict[str, str]:
        """Headers that tell what is left. Raises Refused (429)."""
        deployment, entry = job.deployment, job.exchange.entry
        if deployment.tpm is None and deployment.ptu is None:
            return {}
        with self._shared.locked(job.name) as state:
            # The limiter goes by the instant at which the request was there, not by when Python got to it.
            decision = limits.admit(deployment, state, entry["received_at"], job.estimate)
        entry["utilization_pct"] = decision.utilization_pct
        if decision.refusal is not None:
            reason, seconds = decision.refusal
            refusal = wire.throttled(deployment.model, job.name, settings.region, reason, seconds, api_version)
            raise Refused(refusal, decision.headers | wire.policy_header(reason), reason)
        return decision.headers

    async def _generate(self, job: Job, settings: Settings, headers: dict[str, str]) -> None:
        """Wait for a place, plan the answer and send it at its pace."""
        places, deployment, request = job.engine.places, job.deployment, job.request
        start = time.monotonic() - max(0.0, time.time() - job.exchange.entry["received_at"])
        waits = places.taken >= deployment.max_concurrent
        try:
            await places.take(deployment.max_concurrent, deployment.max_waiting)
        except Full:
            refusal = wire.throttled(deployment.model, job.name, settings.region, "capacity", WAIT_WHEN_FULL_S, None)
            raise Refused(refusal, {"retry-after": f"{WAIT_WHEN_FULL_S:.0f}"}, "capacity") from None
        try:
            multiplier = load_multiplier(deployment, places.taken - 1)
            uncached = request.prompt_tokens - job.cached_tokens
            delivery = Delivery(
                exchange=job.exchange,
                deployment=deployment,
                request=request,
                identity=self._identity(job),
                answers=[
                    plan_answer(deployment, job.rng, uncached, request.max_tokens, multiplier) for _ in range(request.n)
                ],
                rng=job.rng,
                headers=headers,
                base=time.monotonic() if waits else start,
            )
            await (delivery.stream() if request.stream else delivery.send_whole())
        finally:
            places.leave()

    def _identity(self, job: Job) -> wire.Identity:
        return wire.Identity(
            id=f"chatcmpl-{job.rng.getrandbits(140):035x}",
            created=int(time.time()),
            model=job.deployment.model,
            fingerprint=f"fp_{job.rng.getrandbits(40):010x}",
            include_usage=job.request.include_usage,
            azure=self._style != "openai",
        )


def _headers(exchange: Exchange, settings: Settings) -> dict[str, str]:
    entry = exchange.entry
    return wire.answer_headers(
        entry["request_id"], entry["client_request_id"], settings.region, entry.get("deployment") or ""
    )
