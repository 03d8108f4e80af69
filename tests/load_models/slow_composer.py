"""A locustfile whose users take 6 ms to put a request together, as long conversations may."""

from __future__ import annotations

import time

from tokenswarm.apis.request import ChatRequest
from tokenswarm.users import ChatUser
from tokenswarm.workload.arrivals import Arrival


class SlowComposer(ChatUser):
    def compose(self, arrival: Arrival | None) -> tuple[ChatRequest, bytes]:
        time.sleep(0.006)  # the work of putting it together
        return super().compose(arrival)
