"""One API of the model service at one style of address: Azure's or the plain one, from the request to the last byte."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from simulator.apis.call import Api, Call, Refused, Saying, check_prompt, parse_json
from simulator.apis.tokens import vocabulary_of
from simulator.config.fault_specs import FAULT_HEADER, Fault, parse_fault, pick_fault
from simulator.config.live import LiveSettings
from simulator.config.settings import Deployment, Settings
from simulator.config.shared import SharedState
from simulator.service import limits
from simulator.service.content import Content, compose
from simulator.service.conversations import Conversations
from simulator.service.credentials import is_authorized
from simulator.service.delivery import Delivery
from simulator.service.deployment import Engine, Full
from simulator.service.latency import WORDS, Draw, load_multiplier, plan_answer, seeded, stopped
from simulator.service.limits import Charge, Decision
from simulator.service.prompt_cache import Prefix, prefixes
from simulator.service.schema import Unsatisfiable
from simulator.truth.log import INTERNAL_HEADER, TruthLog
from simulator.wire import azure as wire
from simulator.wire.azure import Answer
from simulator.wire.exchange import Exchange, Gone
from simulator.wire.fault_injection import arm

API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")

WAIT_WHEN_FULL_S = 20.0
"""What a request is told that found every place in the line taken."""

SPILLOVER_HEADER = "x-ms-spillover-deployment"
"""A request may name the deployment that serves it when the provisioned one is full."""


class Work:
    """The engines of one process, shared by all APIs and styles of address, and the conversations kept."""

    def __init__(self, conversations: Conversations) -> None:
        self.engines: defaultdict[str, Engine] = defaultdict(Engine)
        self.conversations = conversations

    def gauges(self) -> dict[str, list[int]]:
        """By deployment: requests at work, requests waiting for a place."""
        return {name: [engine.places.taken, engine.places.waiting] for name, engine in self.engines.items()}


@dataclass(frozen=True, slots=True)
class Job:
    """A well-formed request to a deployment that exists."""

    exchange: Exchange
    call: Call
    name: str
    deployment: Deployment
    engine: Engine
    digest: str
    prefixes: list[Prefix]
    cached_tokens: int
    rng: random.Random

    @property
    def estimate(self) -> Charge:
        """What the limiter charges before anything is generated."""
        if self.deployment.embedding_dimensions is not None:
            return Charge(self.call.prompt_tokens, self.cached_tokens, 0)
        output = (self.call.max_tokens or self.deployment.assumed_max_tokens) * self.call.choices
        return Charge(self.call.prompt_tokens, self.cached_tokens, output)

    @property
    def used(self) -> Charge:
        """What was generated until now."""
        completion = self.exchange.entry.get("completion_tokens") or 0
        return Charge(self.call.prompt_tokens, self.cached_tokens, completion)


class ModelTarget:
    """An ASGI application. `style`: `azure` (an api-version is needed), `azure-v1` or `openai`."""

    def __init__(
        self, api: Api, style: str, live: LiveSettings, shared: SharedState, truth: TruthLog, work: Work
    ) -> None:
        self._api = api
        self._style = style
        self._live = live
        self._shared = shared
        self._truth = truth
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        entry = exchange.entry
        internal = INTERNAL_HEADER in exchange.headers
        entry.update(target="chat", api=self._api.name, request_id=str(uuid.uuid4()), internal=internal)
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
            if not is_authorized(exchange.headers, settings):
                raise Refused(wire.UNAUTHORIZED, reason="credentials")
            api_version = self._api_version(exchange)
            job = self._accept(exchange, settings, body)
            if (fault := self._fault(job)) is not None:
                await arm(exchange, fault, self._api.dialect).answer_instead()
            await self._answer(job, settings, api_version)
        except Refused as refused:
            entry, refusal = exchange.entry, refused.refusal
            entry["outcome"] = "throttled" if refusal.status == 429 else "http_error"
            entry["reason"] = refused.reason
            headers = self._headers(exchange, settings) | refused.headers
            await exchange.respond(refusal.status, headers, self._api.error_body(refusal, entry["request_id"]))

    def _api_version(self, exchange: Exchange) -> str | None:
        if self._style != "azure":
            return None
        version: str = parse_qs(exchange.scope["query_string"].decode("latin-1")).get("api-version", [""])[0]
        if not API_VERSION.fullmatch(version):
            raise Refused(wire.NO_RESOURCE, reason="api_version")
        return version

    def _accept(self, exchange: Exchange, settings: Settings, body: bytes) -> Job:
        """Understand the request. Raises Refused."""
        self._api.check_headers(exchange.headers)
        parsed = parse_json(body)
        name, deployment = self._deployment(exchange, settings, parsed)
        exchange.entry["deployment"] = name
        call = self._api.read(parsed, deployment, self._work.conversations)
        engine = self._work.engines[name]
        known = prefixes(call.prompt.ids) if deployment.prompt_cache else []
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        rng = seeded(settings.seed, name, digest, engine.occurrence(digest))
        job = Job(exchange, call, name, deployment, engine, digest, known, engine.cache.look_up(known), rng)
        exchange.entry.update(
            stream=call.stream,
            service_tier=call.service_tier,
            prompt_tokens=call.prompt_tokens,
            max_tokens=call.max_tokens,
        )
        self._note_deployment(job, settings)
        return job

    def _note_deployment(self, job: Job, settings: Settings) -> None:
        job.exchange.entry.update(
            deployment=job.name,
            region=job.deployment.region or settings.region,
            cached_tokens=job.cached_tokens,
            estimated_tokens=job.estimate.total,
            tokens_per_chunk=job.deployment.tokens_per_chunk if job.call.stream else None,
        )

    def _deployment(self, exchange: Exchange, settings: Settings, parsed: dict[str, Any]) -> tuple[str, Deployment]:
        name = exchange.scope["path_params"].get("deployment", parsed.get("model"))
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
        decision = self._decide(job)
        spill: dict[str, str] = {}
        if decision.refusal is not None and decision.refusal[0] == "utilization":
            moved, spill = self._spill(job, settings)
            if moved is not None:
                job, decision = moved, self._decide(moved)
        job.exchange.entry["utilization_pct"] = job.exchange.entry.get("utilization_pct") or decision.utilization_pct
        quota = self._api.quota_headers(decision.headers, time.time()) | spill
        if decision.refusal is not None:
            raise self._throttled(job, settings, decision.refusal, api_version, quota)
        job.engine.cache.remember(job.prefixes)
        try:
            check_prompt(job.call, job.deployment)
            await self._generate(job, settings, self._headers(job.exchange, settings) | quota)
        finally:
            if job.deployment.ptu is not None:
                with self._shared.locked(job.name) as state:
                    limits.settle(job.deployment, state, time.time(), job.estimate, job.used)

    def _decide(self, job: Job) -> Decision:
        if job.deployment.tpm is None and job.deployment.ptu is None:
            return Decision()
        with self._shared.locked(job.name) as state:
            # The limiter goes by the instant at which the request was there, not by when Python got to it.
            return limits.admit(job.deployment, state, job.exchange.entry["received_at"], job.estimate)

    def _spill(self, job: Job, settings: Settings) -> tuple[Job | None, dict[str, str]]:
        """The same job at the deployment to which its own one spills over, if there is one; and headers that say so.

        What the deployment is set to goes before what the request asks for. x-ms-spillover-error is the status of the
        provisioned deployment, whether or not the other one serves the request; if it does not, its answer is sent.
        """
        name = job.deployment.spills_to or job.exchange.headers.get(SPILLOVER_HEADER) or ""
        deployment = settings.deployments.get(name)
        if deployment is None or name == job.name:
            return None, {}
        engine = self._work.engines[name]
        cached = engine.cache.look_up(job.prefixes)
        moved = replace(job, name=name, deployment=deployment, engine=engine, cached_tokens=cached)
        self._note_deployment(moved, settings)
        job.exchange.entry["spilled_from"] = job.name
        return moved, {
            "x-ms-spillover-from-deployment": job.name,
            "x-ms-spillover-error": "429",
            "x-ms-deployment-name": name,
        }

    def _throttled(
        self, job: Job, settings: Settings, why: tuple[str, float], api_version: str | None, headers: dict[str, str]
    ) -> Refused:
        reason, seconds = why
        region = job.deployment.region or settings.region
        version = f"Azure OpenAI API version {api_version}" if api_version else "OpenAI Language Model Instance API"
        under = f"{self._api.operation} under {version}"
        refusal = wire.throttled(job.deployment.model, job.name, region, reason, seconds, under)
        return Refused(refusal, headers | wire.policy_header(reason), reason)

    async def _generate(self, job: Job, settings: Settings, headers: dict[str, str]) -> None:
        """Wait for a place, plan the answer and send it at its pace."""
        places, deployment = job.engine.places, job.deployment
        start = time.monotonic() - max(0.0, time.time() - job.exchange.entry["received_at"])
        waits = places.taken >= deployment.max_concurrent
        try:
            await places.take(deployment.max_concurrent, deployment.max_waiting)
        except Full:
            wait = {"retry-after": f"{WAIT_WHEN_FULL_S:.0f}"}
            raise self._throttled(job, settings, ("capacity", WAIT_WHEN_FULL_S), None, headers | wait) from None
        try:
            delivery = self._deliver(job, settings, headers, time.monotonic() if waits else start)
            await (delivery.stream() if job.call.stream else delivery.send_whole())
        finally:
            places.leave()

    def _deliver(self, job: Job, settings: Settings, headers: dict[str, str], base: float) -> Delivery:
        """Plan the answer. Raises Refused where the schema that it must satisfy is beyond the simulator."""
        deployment, call, taken = job.deployment, job.call, job.engine.places.taken
        wrong = deployment.wrong_above is not None and taken > deployment.wrong_above
        job.exchange.entry.update(in_progress=taken, wrong=wrong)
        answers = self._plan(job, settings, wrong, load_multiplier(deployment, taken - 1))
        identity = self._identity(job)
        encoder = self._api.encoder(Saying(call, identity, answers, deployment, job.cached_tokens, job.rng))
        if call.extra.get("store"):
            self._work.conversations.keep(identity.id, call.prompt, answers[0].text)
        return Delivery(
            exchange=job.exchange,
            encoder=encoder,
            answers=answers,
            prompt_tokens=call.prompt_tokens,
            headers=headers,
            base=base,
            goes_on_unheard=deployment.when_client_leaves == "finish",
        )

    def _plan(self, job: Job, settings: Settings, wrong: bool, multiplier: float) -> list[Answer]:
        deployment, call = job.deployment, job.call
        if deployment.embedding_dimensions is not None:
            first_ms = deployment.ttft_base_ms + deployment.ttft_per_token_ms * call.prompt_tokens
            end_ms = max(0.0, job.rng.gauss(first_ms, deployment.ttft_std_ms)) * multiplier
            return [Answer((), 0, 0, "stop", end_ms)]
        draw = self._draw(job, settings, wrong)
        uncached = call.prompt_tokens - job.cached_tokens
        planned = []
        for _ in range(call.choices):
            content = self._content(job, draw.says, wrong)
            answer = plan_answer(
                deployment, draw, uncached, call.max_tokens, multiplier, content, call.effort, call.at_least
            )
            planned.append(stopped(answer, call.wanted.stop))
        return planned

    def _draw(self, job: Job, settings: Settings, wrong: bool) -> Draw:
        if not (job.call.same_answer or job.deployment.same_answers) or wrong:
            return Draw(job.rng, job.rng)
        return Draw(job.rng, seeded(settings.seed, job.name, job.digest, -1))

    def _content(self, job: Job, rng: random.Random, wrong: bool) -> Content | None:
        try:
            return compose(job.call.wanted, vocabulary_of(job.deployment.model), rng, WORDS, wrong)
        except (Unsatisfiable, TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            message = f"Invalid schema: {error}."
            raise Refused(wire.invalid(message, None, "invalid_json_schema"), reason="schema") from error

    def _identity(self, job: Job) -> wire.Identity:
        tier = job.call.service_tier
        return wire.Identity(
            id=self._api.identifier(job.rng.getrandbits(140)),
            created=int(time.time()),
            model=job.deployment.model,
            fingerprint=f"fp_{job.rng.getrandbits(40):010x}",
            include_usage=job.call.include_usage,
            azure=self._style != "openai",
            service_tier="default" if tier == "auto" else tier,
        )

    def _headers(self, exchange: Exchange, settings: Settings) -> dict[str, str]:
        entry = exchange.entry
        region, deployment = entry.get("region") or settings.region, entry.get("deployment") or ""
        return wire.answer_headers(entry["request_id"], entry["client_request_id"], region, deployment)
