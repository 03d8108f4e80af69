"""What the service itself adds on an engine, as far as its results show: a row in JMeter's columns for each request.

A locustfile without users, given beside the test plan; the file is named by ENGINE_RESULTS.
"""

from __future__ import annotations

from locust import events

import csv
import os
import time
from typing import Any

HEADER = (
    "timeStamp,elapsed,label,responseCode,responseMessage,threadName,dataType,success,failureMessage,bytes,sentBytes,"
    "grpThreads,allThreads,URL,Latency,IdleTime,Connect"
)

_file = open(os.environ["ENGINE_RESULTS"], "w", newline="", buffering=1)  # noqa: SIM115 - open as long as the engine
_rows = csv.DictWriter(_file, HEADER.split(","), restval="0")
_rows.writeheader()


@events.request.add_listener
def _write(name: str, response_time: float, response_length: int, exception: Any, **_: Any) -> None:
    _rows.writerow(
        {
            "timeStamp": int(time.time() * 1000 - response_time),
            "elapsed": int(response_time),
            "label": name,
            "responseCode": "500" if exception else "200",
            "responseMessage": "",
            "threadName": "engine",
            "dataType": "text",
            "success": str(exception is None).lower(),
            "failureMessage": str(exception or ""),
            "bytes": response_length,
            "URL": "",
            "Latency": int(response_time),
        }
    )
