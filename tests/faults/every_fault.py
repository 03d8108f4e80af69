"""A locustfile with one class of users for each fault: its requests go where that fault waits.

`FAULTS` holds JSON: request name to the fields of the target that differ from the run's own. A chat target's fault
waits at a deployment or address; an orchestrator's is asked for by a header, with every second question.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, ClassVar

from tests.simulator_process import API_KEY
from tokenswarm.client.call import ChatClient, RagClient
from tokenswarm.client.sdk import ChatTemplate, Template
from tokenswarm.users import ChatUser, RagUser

KIND = os.environ["KIND"]


class Moved(ChatTemplate):
    """Another's template with another deployment or another address: asking the SDK for each would take seconds."""

    def __init__(self, template: ChatTemplate, changes: dict[str, Any]) -> None:
        super().__init__(dataclasses.replace(template.target, **changes))
        original, target = template.current(), template.target
        url = original.url.replace(target.endpoint, self.target.endpoint)
        url = url.replace(f"/{target.deployment}/", f"/{self.target.deployment}/")
        self._template = Template(url, original.headers)


class Caller(ChatUser):
    """Calls a deployment that has a fault."""

    abstract = True
    fixed_count = 1
    changes: ClassVar[dict[str, Any]] = {}

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        template = self.sender.chat_template
        assert template is not None
        self.client = ChatClient(Moved(template, self.changes), self.settings.sending, self.caller)


class Tester(RagUser):
    """Asks an orchestrator that has a fault every second time."""

    abstract = True
    fixed_count = 1
    changes: ClassVar[dict[str, Any]] = {}

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        assert self.settings.rag is not None
        keys = {"x-api-key": API_KEY}
        fault = {"x-simulate-fault": self.changes["fault"]}
        target = dataclasses.replace(self.settings.rag, contract=self.changes["contract"], url=self.changes["url"])
        self.client = RagClient(target, self.settings.sending, self.caller)
        self.without = {**self.client._headers, **keys}
        self.with_fault = self.client._headers = {**self.without, **fault}

    def send(self, *arguments: Any) -> None:
        super().send(*arguments)
        struck = self.client._headers is self.with_fault
        self.client._headers = self.without if struck else self.with_fault


for _name, _changes in json.loads(os.environ["FAULTS"]).items():
    _base = Caller if KIND == "chat" else Tester
    globals()[_name] = type(_name, (_base,), {"request_name": _name, "changes": _changes})
