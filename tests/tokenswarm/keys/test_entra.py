from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from tests.services.fake_azure import Azure
from tokenswarm.config.chat_url import DEFAULT_SCOPE
from tokenswarm.keys.entra import EntraTokens, Token, default_credential, renewal_delay_s
from tokenswarm.userinput import BadInput


class Answer(NamedTuple):
    token: str
    expires_on: int


@dataclass
class Credential:
    """Gives out what it was told to; an exception is raised."""

    answers: list[Answer | Exception]
    scopes: list[str] = field(default_factory=list)

    def get_token(self, scope: str) -> Answer:
        self.scopes.append(scope)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("expires_in_s", "delay_s"),
    [(3600, 3360), (600, 360), (480, 240), (300, 150), (60, 30), (1, 1), (-5, 1)],
)
def test_renews_four_minutes_before_the_end_or_halfway(expires_in_s: float, delay_s: float) -> None:
    assert renewal_delay_s(Token("t", 1000 + expires_in_s), 1000) == delay_s


def test_one_token_serves_every_request_until_it_is_renewed() -> None:
    credential = Credential([Answer("first", 4600), Answer("second", 8200)])
    source = EntraTokens(credential, "scope", clock=lambda: 1000)
    source.start()
    assert [source() for _ in range(1000)] == ["first"] * 1000
    assert credential.scopes == ["scope"]
    assert source.renew() == 8200 - 1000 - 240
    assert (source(), source.version) == ("second", 2)
    source.stop()


def test_a_failed_renewal_keeps_the_token_and_says_so() -> None:
    credential = Credential([Answer("first", 4600), OSError("network is down"), Answer("second", 8200)])
    source = EntraTokens(credential, clock=lambda: 4400)
    source.start()
    assert source.renew() == 30
    assert source() == "first"
    assert source.problem is not None and "network is down" in source.problem
    source.renew()
    assert (source(), source.problem) == ("second", None)
    source.stop()


def test_the_same_token_again_is_asked_for_soon_and_is_no_new_version() -> None:
    source = EntraTokens(Credential([Answer("first", 4600), Answer("first", 4600)]), clock=lambda: 4000)
    source.start()
    assert source.renew() == 30
    assert source.version == 1
    source.stop()


def test_no_token_at_all_is_bad_input() -> None:
    with pytest.raises(BadInput) as caught:
        EntraTokens(Credential([OSError("line one\n\nline two")])).start()
    assert caught.value.problems == [f"auth = entra: expected a token for {DEFAULT_SCOPE}, got: line one line two"]


def test_a_token_before_the_start_is_a_programming_error() -> None:
    with pytest.raises(RuntimeError):
        EntraTokens(Credential([]))()


def test_the_real_credential_renews_an_expiring_token_in_the_background(azure: Azure) -> None:
    azure.expires_in_s = 2
    renewed = threading.Event()
    source = EntraTokens(default_credential(), on_renewal=lambda: renewed.set() if source.version == 2 else None)
    source.start()
    assert source() == "token-1"
    token_request = azure.requests_to("login.microsoftonline.com")[-1]
    assert token_request.path.endswith("/oauth2/v2.0/token")
    assert "scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default" in token_request.body
    assert renewed.wait(20)
    assert source() == "token-2"
    source.stop()


def test_the_real_credential_refused_is_one_clear_line(azure: Azure) -> None:
    azure.token_status = 401
    with pytest.raises(BadInput, match=r"auth = entra: expected a token for .*, got: .*") as caught:
        EntraTokens(default_credential()).start()
    assert len(caught.value.problems) == 1
    assert "AADSTS7000215" in caught.value.problems[0]


def test_other_greenlets_run_while_a_token_is_fetched_under_monkey_patching(azure: Azure) -> None:
    """The renewal must not hold up the event loop: a heartbeat greenlet goes on beating during it."""
    azure.expires_in_s = 2
    script = """
        from gevent import monkey; monkey.patch_all()
        import gevent, time
        from tokenswarm.keys.entra import EntraTokens, default_credential
        beats, done = [], gevent.event.Event()
        source = EntraTokens(default_credential(), on_renewal=lambda: source.version > 1 and done.set())
        source.start()
        def beat():
            while not done.is_set():
                beats.append(time.monotonic()); gevent.sleep(0.005)
        heart = gevent.spawn(beat)
        assert done.wait(20)
        heart.join()
        print(source(), len(beats) > 20)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["token-2", "True"], done.stderr
