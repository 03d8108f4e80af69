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
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from simulator import limits, wire
from simulator.delivery import Delivery
from simulator.engine import Engine, Full
from simulator.exchange import Exchange, Gone
from simulator.faults import FAULT_HEADER, Fault, parse_fault, pick_fault
from simulator.injection import arm
from simulator.latency import load_multiplier, plan_answer, seeded
from simulator.limits import Charge
from simulator.live import LiveSettings
from simulator.request import ChatRequest, Refused, check_prompt, parse_chat, parse_json
from simulator.settings import Deployment, Settings
from simulator.shared import SharedState
from simulator.tokens import prefixes
from simulator.truth import INTERNAL_HEADER, TruthLog

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
            entry.update(exchange.struck)
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
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        rng = seeded(settings.seed, name, digest, engine.occurrence(digest))
        fault = self._fault(exchange, deployment, rng)
        if fault is not None:
            await arm(exchange, fault).answer_instead()
        headers = self._admit(exchange, settings, name, deployment, estimate, api_version)
        engine.cache.remember(known)
        try:
            check_prompt(parsed, request, deployment)
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

    def _fault(self, exchange: Exchange, deployment: Deployment, rng: random.Random) -> Fault | None:
        """The fault that the request asks for or that its deployment has for it."""
        asked = exchange.headers.get(FAULT_HEADER)
        if asked is None:
            return pick_fault(deployment.faults, rng, self._live.uptime_s)
        try:
            return parse_fault(asked)
        except ValueError as error:
            raise Refused(wire.invalid(f"{FAULT_HEADER}: {error}", FAULT_HEADER), reason="fault") from error

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
        rng: random.Random,
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
            delivery = Delivery(
                exchange=exchange,
                deployment=deployment,
                request=request,
                identity=self._identity(deployment, request, rng),
                answers=[
                    plan_answer(deployment, rng, uncached, request.max_tokens, multiplier) for _ in range(request.n)
                ],
                rng=rng,
                headers=headers,
                base=base or time.monotonic(),
            )
            await (delivery.stream() if request.stream else delivery.send_whole())
        finally:
            engine.places.leave()

    def _identity(self, deployment: Deployment, request: ChatRequest, rng: random.Random) -> wire.Identity:
        return wire.Identity(
            id=f"chatcmpl-{rng.getrandbits(140):035x}",
            created=int(time.time()),
            model=deployment.model,
            fingerprint=f"fp_{rng.getrandbits(40):010x}",
            include_usage=request.include_usage,
            azure=self._style != "openai",
        )

    def _headers(self, exchange: Exchange, settings: Settings) -> dict[str, str]:
        entry = exchange.entry
        return wire.answer_headers(
            entry["request_id"], entry["client_request_id"], settings.region, entry.get("deployment") or ""
        )
