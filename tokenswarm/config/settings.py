"""What a run will do: the parameters that `build_settings` makes of its options. No clock, no socket."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tokenswarm.apis.request import ChatTarget, RagTarget, Sending
from tokenswarm.config.request_extras import (
    BodyFields,
)
from tokenswarm.config.targets import (
    SeveralTargets,
)
from tokenswarm.metrics.autostop import AutoStop
from tokenswarm.metrics.criteria import Criterion, hold_s
from tokenswarm.metrics.goodput import Goodput
from tokenswarm.metrics.prices import Prices, PriceTable
from tokenswarm.metrics.server_metrics import PrometheusEndpoint
from tokenswarm.traffic.settings import Traffic
from tokenswarm.workload.abort import Abort
from tokenswarm.workload.arrivals import Plan, TracePlan
from tokenswarm.workload.distributions import Length, Pause
from tokenswarm.workload.images import Images
from tokenswarm.workload.levels import USERS, SearchRange
from tokenswarm.workload.questions import Question
from tokenswarm.workload.stages import Shape

OTHER = "other"
"""The target of users that ask an API of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The run's parameters after every check. Durations in s, rates in requests per minute, tokens as counts."""

    chat: ChatTarget | None
    several: SeveralTargets | None
    """Targets that share the requests; the first of them is `chat`. `None` where there is one."""
    rag: RagTarget | None
    host: str | None
    preflight: str
    """Base URL of the API that a locustfile brings itself; `None` when it brings none."""
    sending: Sending
    context: Length
    output: Length | None
    max_tokens_field: str
    questions: list[Question] | None
    traffic: Traffic
    dataset_order: str
    unique_prefix: bool
    system_prompt: str | None
    stream: bool
    stream_usage: bool
    body: BodyFields
    batch: Length
    turns: Length
    think_time: Pause
    start_turn: Length
    abort: Abort | None
    images: Images | None
    by_reference: bool
    """Whether a conversation's earlier turns are named by the id of the last answer instead of being sent again."""
    answers_sample_pct: float
    plan: Plan | None
    arrival: str
    arrival_smoothness: float
    max_lag_s: float
    shape: Shape | None
    confirm_load: bool
    seed: int
    quota_tpm: float | None
    quota_rpm: float | None
    ptu: float | None
    criteria: list[Criterion]
    auto_stop: AutoStop | None
    max_refusals: int
    goodput: Goodput | None
    warm_up_s: float
    cool_down_s: float
    max_total_tokens: float | None
    max_total_requests: float | None
    max_cost: float | None
    prices: PriceTable
    search: SearchRange | None
    search_hold_s: float
    search_precision_pct: float
    results: Path
    test_name: str
    output_format: str
    output_interval_s: float
    endpoints: list[PrometheusEndpoint]
    secrets: list[str] = field(repr=False)

    @property
    def target(self) -> str:
        """Whose arrivals nobody took, and what run.json says was asked first: chat, rag or other."""
        return "chat" if self.chat is not None else "rag" if self.rag is not None else OTHER

    def name_of(self, declared: str) -> str:
        """The name of requests whose user class names them `declared`: `chat`, which is every such class's name, gives
        way to what is asked (responses, embeddings, ...)."""
        return self.chat.asks if declared == "chat" and self.chat is not None else declared

    @property
    def url(self) -> str:
        """Of the first target."""
        if self.chat is not None:
            return self.chat.endpoint
        return self.rag.url if self.rag is not None else self.host or ""

    @property
    def urls(self) -> list[str]:
        """Where requests go."""
        chat = [self.chat.endpoint] if self.chat is not None else []
        if self.several is not None:
            chat = list(dict.fromkeys(target.endpoint for target in self.several.targets.values()))
        return chat + ([self.rag.url] if self.rag is not None else [])

    @property
    def model(self) -> str:
        """The model or deployment that is asked; empty where none is named."""
        return self.chat.deployment if self.chat is not None else ""

    @property
    def price_of_run(self) -> Prices:
        """What tokens of the model that is asked cost."""
        return self.prices.of(self.model)

    @property
    def searches_users(self) -> bool:
        """Whether a search decides how many users there are."""
        return self.search is not None and self.search.unit == USERS

    @property
    def first_level_s(self) -> float:
        """How long a search holds its lowest load at least; `search-hold` without one."""
        if self.search is None or self.searches_users:
            return self.search_hold_s
        by_minutes = self.quota_tpm is not None or self.quota_rpm is not None
        return hold_s(self.search.low, self.criteria, self.search_hold_s, by_minutes)

    @property
    def remembers_prompts(self) -> bool:
        """Whether what prompts share is found while they are sent: recorded ones, and those of a trace with blocks."""
        with_blocks = isinstance(self.plan, TracePlan) and any(row.hash_ids for row in self.plan.rows)
        return with_blocks or self.traffic.recording is not None

    @property
    def open_load(self) -> bool:
        """Whether arrivals decide when requests are sent, not users."""
        return self.plan is not None or (self.search is not None and self.search.unit != USERS)
