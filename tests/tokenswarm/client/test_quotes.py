from __future__ import annotations

import html
import json
import random
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tokenswarm.client.quotes import LEFT_OUT, without_quotes

SECRET = (
    'Hello, I am Zaphod Beeblebrox from Köln-Ehrenfeld.\nCall +49 221 4711-0815, say "yes"; ask Bob Li for parcel Q7.'
)
SAID: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {
            "role": "system",
            "content": "You are the helpful assistant of a bank. Answer in the language of the customer.",
        },
        {"role": "user", "content": [{"type": "text", "text": SECRET}]},
    ],
    "user": "cust-4711",
    "metadata": {"team": "acme"},
    "tools": [{"type": "function", "function": {"name": "find_parcel"}}],
}
NAMES = (
    "zaphod",
    "beeblebrox",
    "köln",
    "k\\u00f6ln",
    "ehrenfeld",
    "4711",
    "0815",
    "acme",
    "find_parcel",
    "bob li",
    "q7",
)
FORMS = {
    "whole": SECRET,
    "in a list of JSON": json.dumps(SAID),
    "JSON in JSON": json.dumps(json.dumps(SAID)),
    "with escapes": json.dumps(SECRET),
    "repr": repr(SAID),
    "on a page": html.escape(SECRET),
    "in a URL": quote(SECRET),
    "in a form": quote_plus(SECRET),
    "loud": SECRET.upper(),
    "in one line": " ".join(SECRET.split()),
    "without accents": SECRET.replace("ö", "o"),
    "a name": "the prompt of Zaphod was blocked",
    "a loud name": "BEEBLEBROX is blocked",
    "a small name": "zaphod is blocked",
    "two short names": "Bob Li is unknown",
    "a value as a code": "HTTP 400: find_parcel: not known",
    "a value": "acme may not use find_parcel, cust-4711",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("frame", ["HTTP 400: bad_request: {}", "{}", "HTTP 422: body.messages: '{}'"])
def test_no_form_of_a_quote_is_left(form: str, frame: str) -> None:
    left = without_quotes(frame.format(FORMS[form]), SAID)
    assert LEFT_OUT in left
    assert [name for name in NAMES if name in left.lower()] == []


@pytest.mark.parametrize("form", ["whole", "in a list of JSON", "JSON in JSON", "repr", "in a URL"])
def test_nor_of_one_that_was_cut_anywhere(form: str) -> None:
    text = FORMS[form]
    for end in range(len(text) - 230, len(text)) if len(text) > 300 else range(5, len(text)):
        for error in (f"HTTP 400: not allowed: {text[:end]}...", f"HTTP 400: {'x ' * 200}{text[:end]}"[:500]):
            left = without_quotes(error, SAID).lower()
            assert [name for name in ("zaphod", "zaph", "beeble", "ehrenf", "4711-") if name in left] == [], error


@pytest.mark.parametrize(
    "error",
    [
        "HTTP 400: context_length_exceeded: This model's maximum context length is 8192 tokens. However, your messages "
        "resulted in 9001 tokens.",
        "HTTP 404: DeploymentNotFound: The API deployment for this resource does not exist. (POST https://x/gpt-4o)",
        "HTTP 429: 429: Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-06-01 "
        "have exceeded token rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds.",
        "HTTP 400: invalid_value: 'messages.0.content' must be text, gpt-4o takes no tools",
        "HTTP 500: Internal Server Error",
        "HTTP 400: no answer: hello, ask a customer",
        "HTTP 503",
        "",
    ],
)
def test_what_a_service_says_of_itself_stays(error: str) -> None:
    assert without_quotes(error, SAID) == error


def test_a_key_that_no_api_writes_so_is_a_text() -> None:
    said = {**SAID, "Zaphod": 1, "top_k": 5, "customer 4711": {}, "maxTokens": 5}
    error = "HTTP 400: unknown argument {}"
    for key in ("Zaphod", "customer 4711"):
        assert without_quotes(error.format(key), said) == error.format(LEFT_OUT)
    for key in ("top_k", "maxTokens"):
        assert without_quotes(error.format(key), said) == error.format(key)


def test_scripts_without_spaces_are_told_by_four_signs() -> None:
    said = {"messages": [{"role": "user", "content": "請告訴我張偉的電話號碼"}]}
    assert without_quotes("HTTP 400: 內容違規: 我張偉的", said) == f"HTTP 400: 內容違規: {LEFT_OUT}"
    assert without_quotes(f"HTTP 400: {json.dumps('我張偉的電話')}", said) == f'HTTP 400: "{LEFT_OUT}"'


@pytest.mark.parametrize(
    ("letters", "count"),
    [
        ("abcdefghij klm", 10),
        ("абвгдежз ик", 10),
        ("aбcдef gж", 10),
        ("\U00010330\U00010331a бc", 10),
        ("請告訴我張偉的電話號碼", 4),
    ],
)
def test_any_ten_letters_in_a_row_are_found_wherever_they_stand(letters: str, count: int) -> None:
    rng = random.Random(letters)
    said = {"input": "".join(rng.choices(letters, k=3000))}
    bare = said["input"].replace(" ", "")
    for _ in range(200):
        at = rng.randrange(len(bare) - 12)
        assert bare[at : at + count] not in without_quotes(f"z z {bare[at : at + count]} z", said)


def test_letters_again_and_again_are_looked_at_once() -> None:
    said = {"input": "a" * 100_000}
    assert without_quotes(f"HTTP 400: {'a' * 3000}", said) == f"HTTP 400: {LEFT_OUT}"


def test_images_are_no_texts_and_odd_bodies_do_no_harm() -> None:
    image = {"input": [{"image_url": "data:image/png;base64," + "QUJD" * 5000}, None, 3, True, {"a": {}}]}
    assert (
        without_quotes("HTTP 400: invalid image QUJDQUJDQUJDQUJD", image) == "HTTP 400: invalid image QUJDQUJDQUJDQUJD"
    )
    assert (
        without_quotes("HTTP 400: \\ud83d \\x4 %zz &nope; \\", {"input": "\ud83d"})
        == "HTTP 400: \\ud83d \\x4 %zz &nope; \\"
    )
