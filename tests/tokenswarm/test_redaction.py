from __future__ import annotations

import base64
import io
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenswarm.record import Outcome, RequestRecord
from tokenswarm.redaction import MASK, RedactingFilter, Secrets, redact_handlers

KEY = "CaNaRy/4f+9=&\"0' <b>"


def known(*values: str) -> Secrets:
    secrets = Secrets()
    for value in values:
        secrets.add(value)
    return secrets


@pytest.mark.parametrize(
    "spelling",
    [
        KEY,
        quote(KEY),
        quote(KEY, safe=""),
        json.dumps(KEY),
        repr(KEY),
        base64.b64encode(KEY.encode()).decode(),
        "CaNaRy/4f+9=&amp;&quot;0&#x27; &lt;b&gt;",
    ],
)
def test_a_known_secret_is_hidden_in_every_spelling(spelling):
    redacted = known(KEY).redact(f"before {spelling} after")
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert "CaNaRy" not in redacted
    assert "Q2FOYVJ5" not in redacted


def test_a_secret_within_another_leaves_no_rest():
    assert known("abcd", "abcdefgh").redact("x abcdefgh y abcd z") == f"x {MASK} y {MASK} z"


def test_short_and_absent_values_are_passed_over():
    secrets = known("", "   ", "abc")
    secrets.add(None)
    assert secrets.redact("abc of the alphabet") == "abc of the alphabet"
    assert repr(secrets) == "Secrets(0 spellings)"


def test_repr_shows_no_secret():
    assert "hunter22" not in repr(known("hunter22"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("api-key: 0a1b2c", "api-key: ***"),
        ("{'api-key': '0a1b2c', 'a': 'b'}", "{'api-key': '***', 'a': 'b'}"),
        ("[('x-functions-key', '0a1b2c'), 1]", "[('x-functions-key', '***'), 1]"),
        ("(b'api-key', b'0a1b2c')", "(b'api-key', b'***')"),
        ('{"X-API-KEY": "0a1b2c"}', '{"X-API-KEY": "***"}'),
        ("Authorization: Bearer abc.def.ghi", "Authorization: Bearer ***"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic ***"),
        ("got Bearer eyAbc123456 back", "got Bearer *** back"),
        ("dapr-api-token=tok1", "dapr-api-token=***"),
        ("https://f.azurewebsites.net/api/orc?code=Ab12%3D%3D&x=1", "https://f.azurewebsites.net/api/orc?code=***&x=1"),
        ("https://b.blob/x?sv=1&sig=zzz", "https://b.blob/x?sv=1&sig=***"),
        ("https://me:word@host:8/p", "https://***@host:8/p"),
        ("OPENAI_API_KEY='0a1b2c'", "OPENAI_API_KEY='***'"),
        ("AZURE_CLIENT_SECRET = 0a1b2c", "AZURE_CLIENT_SECRET = ***"),
        ("key sk-proj-0123456789abcdefXY.", "key ***."),
        (
            "AccountName=me;AccountKey=q1w2e3/+==;EndpointSuffix=core",
            "AccountName=me;AccountKey=***;EndpointSuffix=core",
        ),
        ("Endpoint=sb://x;SharedAccessKey=q1w2e3/+=", "Endpoint=sb://x;SharedAccessKey=***"),
        (
            "InstrumentationKey=1111-2222;IngestionEndpoint=https://x",
            "InstrumentationKey=***;IngestionEndpoint=https://x",
        ),
        ("Server=db;User Id=me;Password=hunter2;", "Server=db;User Id=me;Password=***;"),
        ('{"api_key": "0a1b2c", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("{'client_secret': '0a1b2c'}", "{'client_secret': '***'}"),
        (r"{\"access_token\":\"0a1b2c\"}", r"{\"access_token\":\"***\"}"),
        ("got gsk_0123456789abcdefXY, hf_0123456789abcdefXY", "got ***, ***"),
        ("AKIAABCDEFGHIJKLMNOP is it", "*** is it"),
        ("key " + "a1B2" * 13 + "JQQJ99BKACYeBjFXJ3w3AAABACOGabcd.", "key ***."),
        ("key " + "a1B2" * 11 + "AzFuXyZ123==", "key ***"),
        ("token eyJhbGciOiJI.eyJzdWIiOiIx.abc-def end", "token *** end"),
    ],
)
def test_whatever_has_the_form_of_a_credential_is_hidden(text, expected):
    secrets = Secrets()
    assert secrets.redact(text) == expected
    assert secrets.redact(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/openai/v1/chat/completions?api-version=2024-10-21",
        "Missing bearer authentication in header",
        "The bearer of this ring, an authorization, and more",
        "api-key: expected text, got a blank (x.env:3)",
        "max_tokens=500 prompt_tokens=12 TPM=20000",
        "write to me@example.org",
        '{"token": 5, "max_tokens": "5", "secrets": "none"}',
        "the password is wrong, the access key too",
        "AKIA and sk- and gsk_ are beginnings of keys",
        "ttft_ms 12.5, status 429, code 401",
    ],
)
def test_ordinary_text_stays(text):
    assert known("0a1b2c3d").redact(text) == text


@given(st.text(min_size=4).filter(lambda value: len(value.strip()) >= 4), st.text(), st.text())
def test_a_known_secret_never_stays(value, before, after):
    secrets = known(value)
    assert value.strip() not in secrets.redact(before + value + after).replace(MASK, "")


@given(st.text())
def test_any_text_can_be_redacted_twice(text):
    secrets = known("0a1b2c3d")
    once = secrets.redact(text)
    assert secrets.redact(once) == once


def test_log_records_of_every_logger_are_redacted_in_message_arguments_and_traceback():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.Logger("top")
    logger.addHandler(handler)
    secrets = known("hunter22")
    redact_handlers(secrets, logger)
    redact_handlers(secrets, logger)
    assert len(handler.filters) == 1
    logger.warning("key %s and %d", "hunter22", 5)
    try:
        raise ValueError("no hunter22 here")
    except ValueError:
        logger.exception("failed", stack_info=True)
    logger.warning("hunter22 %d", "hunter22")
    written = stream.getvalue()
    assert "hunter22" not in written
    assert "key *** and 5" in written
    assert "ValueError: no *** here" in written


def test_filter_keeps_every_record():
    record = logging.LogRecord("n", logging.INFO, "p", 1, "plain", None, None)
    assert RedactingFilter(Secrets()).filter(record) is True
    assert record.getMessage() == "plain"


def test_a_record_keeps_no_secret_that_a_service_told_back() -> None:
    secrets = Secrets()
    secrets.add("my-secret-key")
    record = RequestRecord(
        call_id="my-secret-key", outcome=Outcome.HTTP_ERROR, error="bad key my-secret-key, api-key: other", model="m"
    )
    cleaned = secrets.clean(record)
    assert cleaned.error == "bad key ***, api-key: ***"
    assert (cleaned.model, cleaned.status) == ("m", None)
    untouched = RequestRecord(call_id="1", outcome=Outcome.OK, model="gpt-4o")
    assert secrets.clean(untouched) is untouched


def test_a_secret_that_was_cut_is_hidden() -> None:
    secrets = Secrets()
    secrets.add("lab-4711-of-the-gateway")
    assert secrets.hide_cut("wrong key lab-4711-of-th") == "wrong key ***"
    assert secrets.hide_cut("wrong key lab-47") == "wrong key ***"
    assert secrets.hide_cut("to /?k=lab-4711-o (by proxy h)") == "to /?k=*** (by proxy h)"
    assert secrets.hide_cut("in the lab") == "in the lab"
    record = RequestRecord(call_id="1", outcome=Outcome.HTTP_ERROR, error="wrong key lab-4711-of-th")
    assert secrets.clean(record).error == "wrong key ***"
