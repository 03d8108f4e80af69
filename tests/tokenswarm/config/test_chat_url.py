from __future__ import annotations

import pytest

from tokenswarm.config.chat_url import ChatUrl, read_chat_url, token_scope
from tokenswarm.config.environment import Environment, endpoint_problems
from tokenswarm.config.settings import build_settings

NOTHING: dict[str, str] = {}
KEY = {"AZURE_OPENAI_API_KEY": "k"}
BOTH = {"AZURE_OPENAI_API_KEY": "k", "OPENAI_API_KEY": "k"}
GATEWAY = "https://gw.example"
RESOURCE = "https://r.openai.azure.com"


def under(name: str, url: str) -> ChatUrl:
    return read_chat_url(url, Environment({name: url, "AZURE_OPENAI_API_KEY": "k"}, {}))


@pytest.mark.parametrize(
    ("url", "variables", "expected"),
    [
        (RESOURCE + "/", NOTHING, ChatUrl("azure", RESOURCE)),
        (RESOURCE + "/openai", KEY, ChatUrl("azure", RESOURCE)),
        (RESOURCE + "/openai/", KEY, ChatUrl("azure", RESOURCE)),
        (RESOURCE + "/openai/v1", KEY, ChatUrl("azure-v1", RESOURCE + "/openai/v1")),
        (RESOURCE + "/openai/v1/chat/completions", KEY, ChatUrl("azure-v1", RESOURCE + "/openai/v1")),
        (RESOURCE + "/openai/deployments/gpt", NOTHING, ChatUrl("azure", RESOURCE, "gpt")),
        (RESOURCE + "/openai/deployments/", NOTHING, ChatUrl("azure", RESOURCE)),
        (
            RESOURCE + "/openai/deployments/gpt/chat/completions?api-version=2024-06-01",
            NOTHING,
            ChatUrl("azure", RESOURCE, "gpt", "2024-06-01"),
        ),
        (
            "https://r.services.ai.azure.com/api/projects/p",
            KEY,
            ChatUrl("azure", "https://r.services.ai.azure.com"),
        ),
        ("https://r.services.ai.azure.com/models", KEY, ChatUrl("azure", "https://r.services.ai.azure.com")),
        (
            "https://eastus.api.cognitive.microsoft.com/",
            KEY,
            ChatUrl("azure", "https://eastus.api.cognitive.microsoft.com"),
        ),
        ("https://r.openai.azure.us", NOTHING, ChatUrl("azure", "https://r.openai.azure.us")),
        ("https://r.openai.azure.cn/", NOTHING, ChatUrl("azure", "https://r.openai.azure.cn")),
        ("https://r.cognitiveservices.azure.us/", NOTHING, ChatUrl("azure", "https://r.cognitiveservices.azure.us")),
        (
            "https://openai.azure.com.evil.example/x",
            NOTHING,
            ChatUrl("openai", "https://openai.azure.com.evil.example/x"),
        ),
        ("http://h:8000", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/v1/", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/v1/chat/completions", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/v1/chat/completions/", BOTH, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/v1/models", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/chat/completions", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/api/v3", NOTHING, ChatUrl("openai", "http://h:8000/api/v3")),
        (GATEWAY + "/team", BOTH, ChatUrl("openai", GATEWAY + "/team")),
        (GATEWAY + "/team", KEY, ChatUrl("azure", GATEWAY + "/team")),
        (GATEWAY + "/team/v1", KEY, ChatUrl("azure-v1", GATEWAY + "/team/v1")),
        (GATEWAY + "/a/b/openai/deployments/gpt", NOTHING, ChatUrl("azure", GATEWAY + "/a/b", "gpt")),
    ],
)
def test_what_a_url_says(url: str, variables: dict[str, str], expected: ChatUrl) -> None:
    assert read_chat_url(url, Environment(variables, {})) == expected
    assert endpoint_problems(url, "host") == []


@pytest.mark.parametrize("name", ["AZURE_OPENAI_ENDPOINT", "AOAI_ENDPOINT"])
def test_a_gateways_path_under_an_azure_name_is_kept(name: str) -> None:
    assert under(name, GATEWAY + "/openai2") == ChatUrl("azure", GATEWAY + "/openai2")
    assert under(name, GATEWAY + "/a/b/") == ChatUrl("azure", GATEWAY + "/a/b")
    assert under(name, GATEWAY + "/openai/v1") == ChatUrl("azure-v1", GATEWAY + "/openai/v1")
    full = GATEWAY + "/openai2/openai/deployments/m/chat/completions?api-version=2025-01-01-preview"
    assert under(name, full) == ChatUrl("azure", GATEWAY + "/openai2", "m", "2025-01-01-preview")


def test_the_same_path_under_openais_name_is_openais() -> None:
    assert under("OPENAI_BASE_URL", GATEWAY + "/openai2") == ChatUrl("openai", GATEWAY + "/openai2")


def test_an_azure_endpoints_key_makes_no_azure_of_another_host() -> None:
    pair = Environment({"AZURE_OPENAI_ENDPOINT": RESOURCE, **KEY}, {})
    assert read_chat_url("http://127.0.0.1:1/v1", pair).api == "openai"


@pytest.mark.parametrize(
    ("api", "url", "base"),
    [
        ("azure", GATEWAY + "/team", GATEWAY + "/team"),
        ("azure-v1", GATEWAY + "/team", GATEWAY + "/team/openai/v1"),
        ("azure-v1", GATEWAY, GATEWAY + "/openai/v1"),
        ("openai", RESOURCE + "/openai/v1", RESOURCE + "/openai/v1"),
        ("openai", GATEWAY + "/x/openai/deployments/m", GATEWAY + "/x/openai/deployments/m"),
    ],
)
def test_a_named_api_decides(api: str, url: str, base: str) -> None:
    assert read_chat_url(url, Environment(KEY, {}), api) == ChatUrl(api, base)


def test_a_pasted_url_names_deployment_and_version_unless_an_option_does() -> None:
    url = RESOURCE + "/openai/deployments/pasted/chat/completions?api-version=2024-06-01"
    chat = build_settings({"host": url}, Environment(KEY, {}), {"chat"}).chat
    assert chat is not None and (chat.deployment, chat.api_version) == ("pasted", "2024-06-01")
    options = {"host": url, "deployment": "mine", "api_version": "2025-01-01"}
    chat = build_settings(options, Environment(KEY, {}), {"chat"}).chat
    assert chat is not None and (chat.deployment, chat.api_version) == ("mine", "2025-01-01")


@pytest.mark.parametrize(
    "url",
    [
        "https://portal.azure.com/#@tenant/resource/subscriptions/x",
        "https://ai.azure.com/foundryProject/overview?wsid=/subscriptions/x",
        "https://oai.azure.com/resource/playground",
        "https://platform.openai.com/api-keys",
    ],
)
def test_a_portals_page_is_refused_with_what_is_meant(url: str) -> None:
    (problem,) = endpoint_problems(url, "host")
    assert problem == "host: expected the API's own URL (https://RESOURCE.openai.azure.com), got a page of the portal"


@pytest.mark.parametrize("query", ["code=secret", "api-version=1&sig=secret", "x"])
def test_any_other_query_is_refused_and_not_shown(query: str) -> None:
    (problem,) = endpoint_problems(f"{RESOURCE}/x?{query}", "host")
    assert "without query and fragment" in problem and "secret" not in problem


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        (None, None),
        (RESOURCE, None),
        ("https://r.openai.azure.us", "https://cognitiveservices.azure.us/.default"),
        ("https://r.openai.azure.cn/", "https://cognitiveservices.azure.cn/.default"),
    ],
)
def test_tokens_are_asked_for_in_the_resources_cloud(url: str | None, scope: str | None) -> None:
    assert token_scope(url) == scope
