"""A locustfile with one class of users for each fault: its requests go where that fault waits.

`FAULTS` holds JSON: request name to the fields of the target that differ from the run's own. A chat target's fault
waits at a deployment or address; an orchestrator's is asked for by a header, with every second question.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.simulator_process import API_KEY
from tokenswarm.apis.api import Api
from tokenswarm.apis.gpt_rag import GptRagV1, GptRagV2
from tokenswarm.apis.request import RagRequest
from tokenswarm.client.endpoint import Address, Endpoint, FixedEndpoint
from tokenswarm.client.sdk import SdkEndpoint
from tokenswarm.users import ChatUser, RagUser

KIND = os.environ["KIND"]


class Moved:
    """Another's address with another deployment or another host: asking the SDK for each would take seconds."""

    def __init__(self, endpoint: SdkEndpoint, changes: dict[str, Any]) -> None:
        self._endpoint = endpoint
        self._target = dataclasses.replace(endpoint.target, **changes)

    def at(self, path: str) -> Address:
        original, target = self._endpoint.at(path), self._endpoint.target
        url = original.url.replace(target.endpoint, self._target.endpoint)
        return Address(url.replace(f"/{target.deployment}/", f"/{self._target.deployment}/"), original.headers)


class Caller(ChatUser):
    """Calls a deployment that has a fault."""

    abstract = True
    fixed_count = 1
    changes: ClassVar[dict[str, Any]] = {}

    def make_endpoint(self) -> Endpoint:
        assert self.sender.chat_endpoint is not None
        return Moved(self.sender.chat_endpoint, self.changes)


class Alternating:
    """A fault is asked for with every second question."""

    def __init__(self, url: str, headers: Mapping[str, str], fault: str) -> None:
        self._next = FixedEndpoint(url, {**headers, "x-simulate-fault": fault})
        self._after = FixedEndpoint(url, headers)

    def at(self, path: str) -> Address:
        self._next, self._after = self._after, self._next
        return self._after.at(path)


class Tester(RagUser):
    """Asks an orchestrator that has a fault every second time."""

    abstract = True
    fixed_count = 1
    changes: ClassVar[dict[str, Any]] = {}

    def make_api(self) -> Api[RagRequest]:
        return GptRagV1() if self.changes["contract"] == "v1" else GptRagV2()

    def make_endpoint(self) -> Endpoint:
        assert self.settings.rag is not None
        headers = {**self.settings.rag.headers, "x-api-key": API_KEY}
        return Alternating(self.changes["url"], headers, self.changes["fault"])


for _name, _changes in json.loads(os.environ["FAULTS"]).items():
    _base = Caller if KIND == "chat" else Tester
    globals()[_name] = type(_name, (_base,), {"request_name": _name, "changes": _changes})
