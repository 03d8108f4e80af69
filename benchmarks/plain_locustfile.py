"""What one writes by hand to stream chat completions in plain Locust: the baseline among the peers.

TTFT and time per output token are kept per request and written as JSON lines to $PLAIN_ROWS at the end, since
Locust's own percentiles are rounded to two digits.
"""

from __future__ import annotations

from locust import FastHttpUser, events, task

import json
import os
import time
from pathlib import Path
from typing import Any

ROWS: list[dict[str, float]] = []
BODY = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "word " * 100}],
    "max_tokens": 100,
    "stream": True,
    "stream_options": {"include_usage": True},
}


class PlainUser(FastHttpUser):
    @task
    def chat(self) -> None:
        began = time.perf_counter()
        first = last = 0.0
        tokens = 0
        with self.client.post("/v1/chat/completions", json=BODY, stream=True, catch_response=True) as response:
            raw: Any = response._response
            while line := raw.readline(b"\n\n"):
                if line.startswith(b"data: [DONE]"):
                    break
                chunk = json.loads(line[6:])
                if chunk.get("usage"):
                    tokens = chunk["usage"]["completion_tokens"]
                elif chunk["choices"][0]["delta"].get("content"):
                    last = time.perf_counter()
                    first = first or last
            raw.read()
            response.success()
        ended = time.perf_counter()
        ROWS.append(
            {
                "ttft_ms": (first - began) * 1000.0,
                "tbt_ms": (last - first) / (tokens - 1) * 1000.0,
                "e2e_ms": (ended - began) * 1000.0,
                "tokens": tokens,
            }
        )


@events.quit.add_listener  # type: ignore[untyped-decorator]
def write_rows(exit_code: int, **_: object) -> None:
    Path(os.environ["PLAIN_ROWS"]).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
