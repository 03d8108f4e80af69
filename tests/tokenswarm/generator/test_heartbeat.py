from __future__ import annotations

import gevent

from tokenswarm.generator.heartbeat import Heartbeat, make_window, summarise


def test_a_window_of_heartbeats_by_hand() -> None:
    made = make_window("w0", 100.0, [1.0] * 90 + [30.0] * 10, 55.0)
    assert (made.lag_p95_ms, made.lag_max_ms, made.cpu_pct) == (30.0, 30.0, 55.0)
    assert made.is_late
    assert not make_window("w0", 100.0, [1.0] * 99 + [80.0], 5.0).is_late
    assert make_window("w0", 100.0, [1.0] * 96 + [25.0] * 4, 5.0).is_late


def test_figures_are_absent_without_observations() -> None:
    facts = summarise([], [])
    assert facts["loop_lag_p95_ms"] is None
    assert facts["read_lag_p99_ms"] is None
    assert facts["windows_late"] == 0


def test_the_heartbeat_sees_a_blocked_loop() -> None:
    heartbeat = Heartbeat("w0")
    heartbeat.start()
    gevent.sleep(0.12)
    import time

    time.sleep(0.2)  # blocks the loop: that is what is to be seen
    gevent.sleep(0.12)
    heartbeat.stop()
    assert max(lag_ms for _, lag_ms in heartbeat.take_stalls()) > 100.0
    assert heartbeat.take_stalls() == []
