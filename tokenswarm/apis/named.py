"""The APIs that the option `endpoint` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenswarm.apis import completions, embeddings, messages, responses
from tokenswarm.apis.api import Api
from tokenswarm.apis.chat_completions import CHAT_PATH, ChatCompletions
from tokenswarm.apis.completions import Completions
from tokenswarm.apis.embeddings import Embeddings
from tokenswarm.apis.messages import Messages
from tokenswarm.apis.request import ChatTarget
from tokenswarm.apis.responses import Responses

_APIS: dict[str, tuple[Callable[[str], Api[Any]], str]] = {
    "chat": (ChatCompletions, CHAT_PATH),
    "responses": (Responses, responses.PATH),
    "embeddings": (Embeddings, embeddings.PATH),
    "completions": (Completions, completions.PATH),
    "messages": (Messages, messages.PATH),
}

NAMES = tuple(_APIS)
"""As the option `endpoint` has them."""


def api_of(target: ChatTarget) -> Api[Any]:
    """How a target is asked."""
    return target.app if target.app is not None else _APIS[target.asks][0](target.deployment)


def path_of(target: ChatTarget) -> str:
    """Below which path of its base URL it is asked."""
    return "" if target.app is not None else _APIS[target.asks][1]
