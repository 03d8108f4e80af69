from __future__ import annotations

import os
import time

import gevent

from tokenswarm.sender.timer import Timer


def test_it_is_never_early_and_fits_short_waits() -> None:
    timer = Timer()
    early = []
    for wait_s in (0.0002, 0.0007, 0.003, 0.011) * 10:
        at = time.time() + wait_s
        timer.wait_until(at)
        early.append(at - time.time())
    timer.close()
    assert max(early) < 0.0002  # the wall clock may be slewed against the monotonic one, not more


def test_an_instant_that_has_passed_is_not_waited_for() -> None:
    timer = Timer()
    with gevent.Timeout(1.0):
        timer.wait_until(time.time() - 5.0)
    timer.close()


def test_others_run_meanwhile_and_a_kill_leaves_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    beats = []

    def beat() -> None:
        for _ in range(5):
            gevent.sleep(0.005)
            beats.append(time.time())

    def wait() -> None:
        timer = Timer()
        try:
            timer.wait_until(time.time() + 60.0)
        finally:
            timer.close()

    waiting, beating = gevent.spawn(wait), gevent.spawn(beat)
    beating.join()
    waiting.kill()
    assert len(beats) == 5
    assert len(os.listdir("/proc/self/fd")) == before
