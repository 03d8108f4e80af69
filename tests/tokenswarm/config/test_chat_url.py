from __future__ import annotations

import pytest

from tokenswarm.apis.named import path_of
from tokenswarm.apis.request import Sending
from tokenswarm.client.sdk import chat_endpoint
from tokenswarm.config.build import build_settings
from tokenswarm.config.chat_url import ChatUrl, read_chat_url, token_scope
from tokenswarm.config.environment import Environment, endpoint_problems
from tokenswarm.userinput import BadInput

NOTHING: dict[str, str] = {}
KEY = {"AZURE_OPENAI_API_KEY": "k"}
BOTH = {"AZURE_OPENAI_API_KEY": "k", "OPENAI_API_KEY": "k"}
GATEWAY = "https://gw.example"
RESOURCE = "https://r.openai.azure.com"
V1 = RESOURCE + "/openai/v1"


def under(name: str, url: str) -> ChatUrl:
    return read_chat_url(url, Environment({name: url, "AZURE_OPENAI_API_KEY": "k"}, {}))


@pytest.mark.parametrize(
    ("url", "variables", "expected"),
    [
        (RESOURCE + "/", NOTHING, ChatUrl("azure-v1", V1)),
        (RESOURCE + "/openai", KEY, ChatUrl("azure-v1", V1)),
        (RESOURCE + "/openai/", KEY, ChatUrl("azure-v1", V1)),
        (RESOURCE + "?api-version=2024-10-21", NOTHING, ChatUrl("azure", RESOURCE, None, "2024-10-21")),
        (RESOURCE + "/openai/v1", KEY, ChatUrl("azure-v1", V1)),
        (RESOURCE + "/openai/v1/chat/completions", KEY, ChatUrl("azure-v1", V1, asks="chat")),
        (RESOURCE + "/openai/deployments/gpt", NOTHING, ChatUrl("azure", RESOURCE, "gpt")),
        (RESOURCE + "/openai/deployments/", NOTHING, ChatUrl("azure", RESOURCE)),
        (
            RESOURCE + "/openai/deployments/gpt/chat/completions?api-version=2024-06-01",
            NOTHING,
            ChatUrl("azure", RESOURCE, "gpt", "2024-06-01", "chat"),
        ),
        (
            "https://r.services.ai.azure.com/api/projects/p",
            KEY,
            ChatUrl("azure-v1", "https://r.services.ai.azure.com/openai/v1"),
        ),
        (
            "https://r.services.ai.azure.com/models",
            KEY,
            ChatUrl("azure-v1", "https://r.services.ai.azure.com/openai/v1"),
        ),
        (
            "https://eastus.api.cognitive.microsoft.com/",
            KEY,
            ChatUrl("azure", "https://eastus.api.cognitive.microsoft.com"),
        ),
        ("https://r.openai.azure.us", NOTHING, ChatUrl("azure-v1", "https://r.openai.azure.us/openai/v1")),
        ("https://r.openai.azure.cn/", NOTHING, ChatUrl("azure-v1", "https://r.openai.azure.cn/openai/v1")),
        (
            "https://r.cognitiveservices.azure.us/",
            NOTHING,
            ChatUrl("azure-v1", "https://r.cognitiveservices.azure.us/openai/v1"),
        ),
        (
            "https://openai.azure.com.evil.example/x",
            NOTHING,
            ChatUrl("openai", "https://openai.azure.com.evil.example/x"),
        ),
        ("http://h:8000", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/v1/", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/v1/chat/completions", NOTHING, ChatUrl("openai", "http://h:8000/v1", asks="chat")),
        ("http://h:8000/v1/chat/completions/", BOTH, ChatUrl("openai", "http://h:8000/v1", asks="chat")),
        ("http://h:8000/v1/models", NOTHING, ChatUrl("openai", "http://h:8000/v1")),
        ("http://h:8000/chat/completions", NOTHING, ChatUrl("openai", "http://h:8000/v1", asks="chat")),
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
    assert under(name, full) == ChatUrl("azure", GATEWAY + "/openai2", "m", "2025-01-01-preview", "chat")


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
    ("url", "api", "scope"),
    [
        (RESOURCE, "azure-v1", "https://ai.azure.com/.default"),
        (RESOURCE, "azure", "https://cognitiveservices.azure.com/.default"),
        (GATEWAY, "openai", "https://cognitiveservices.azure.com/.default"),
        ("https://r.openai.azure.us", "azure-v1", "https://cognitiveservices.azure.us/.default"),
        ("https://r.openai.azure.cn/", "azure", "https://cognitiveservices.azure.cn/.default"),
    ],
)
def test_tokens_are_asked_for_the_api_in_the_resources_cloud(url: str, api: str, scope: str) -> None:
    assert token_scope(url, api) == scope


@pytest.mark.parametrize("version", ["2024-10-21", "2025-04-01-preview"])
def test_a_dated_api_version_anywhere_means_the_deployments_url(version: str) -> None:
    for variables, options in (
        ({"OPENAI_API_VERSION": version}, {}),
        ({}, {"api_version": version}),
    ):
        made = build_settings(
            {"host": RESOURCE, "deployment": "d", **options}, Environment(KEY | variables, {}), {"chat"}
        )
        assert made.chat is not None and (made.chat.api, made.chat.api_version) == ("azure", version)
    made = build_settings(
        {"host": RESOURCE, "deployment": "d", "api_version": "preview"}, Environment(KEY, {}), {"chat"}
    )
    assert made.chat is not None and made.chat.api == "azure-v1"


@pytest.mark.parametrize(
    ("url", "asks", "api", "posted"),
    [
        (V1 + "/responses", "responses", "azure-v1", V1 + "/responses"),
        (V1 + "/embeddings", "embeddings", "azure-v1", V1 + "/embeddings"),
        ("https://h/v1/responses", "responses", "openai", "https://h/v1/responses"),
        ("https://h/v1/embeddings/", "embeddings", "openai", "https://h/v1/embeddings"),
        ("https://h/v1/completions", "completions", "openai", "https://h/v1/completions"),
        ("https://h/v1/messages", "messages", "openai", "https://h/v1/messages"),
        (
            "https://r.services.ai.azure.com/anthropic/v1/messages",
            "messages",
            "openai",
            "https://r.services.ai.azure.com/anthropic/v1/messages",
        ),
        (
            RESOURCE + "/openai/deployments/x/chat/completions?api-version=2024-06-01",
            "chat",
            "azure",
            RESOURCE + "/openai/deployments/x/chat/completions?api-version=2024-06-01",
        ),
        (
            RESOURCE + "/openai/deployments/x/embeddings?api-version=2024-06-01",
            "embeddings",
            "azure",
            RESOURCE + "/openai/deployments/x/embeddings?api-version=2024-06-01",
        ),
        (
            RESOURCE + "/openai/responses?api-version=2025-04-01-preview",
            "responses",
            "azure",
            RESOURCE + "/openai/responses?api-version=2025-04-01-preview",
        ),
        ("https://h/api/v3/chat/completions", "chat", "openai", "https://h/api/v3/chat/completions"),
    ],
)
def test_a_pasted_url_of_any_api_is_what_is_asked(url: str, asks: str, api: str, posted: str) -> None:
    chat = build_settings({"host": url, "deployment": "x"}, Environment(BOTH, {}), {"chat"}).chat
    assert chat is not None and (chat.asks, chat.api) == (asks, api)
    assert chat_endpoint(chat, Sending()).at(path_of(chat)).url == posted


def test_the_option_decides_over_the_end_of_a_pasted_url() -> None:
    options = {"host": "https://h/v1/chat/completions", "deployment": "x", "endpoint": "responses"}
    chat = build_settings(options, Environment(BOTH, {}), {"chat"}).chat
    assert chat is not None and (chat.asks, chat.endpoint) == ("responses", "https://h/v1")


ANTHROPIC = {"ANTHROPIC_BASE_URL": "https://api.anthropic.com", "ANTHROPIC_API_KEY": "sk-ant-1"}


@pytest.mark.parametrize(
    ("variables", "options", "key", "posted"),
    [
        (ANTHROPIC, {}, "sk-ant-1", "https://api.anthropic.com/v1/messages"),
        (ANTHROPIC | {"ANTHROPIC_BASE_URL": "https://gw/x/v1"}, {}, "sk-ant-1", "https://gw/x/v1/messages"),
        (ANTHROPIC | {"OPENAI_BASE_URL": "https://o/v1", "OPENAI_API_KEY": "o"}, {}, "sk-ant-1",
         "https://api.anthropic.com/v1/messages"),
        ({"OPENAI_BASE_URL": "https://o/v1", "OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "sk-ant-1"}, {}, "o",
         "https://o/v1/messages"),
        ({"ANTHROPIC_API_KEY": "sk-ant-1"}, {"host": "https://api.anthropic.com"}, "sk-ant-1",
         "https://api.anthropic.com/v1/messages"),
        ({"OPENAI_API_KEY": "o"}, {"host": "http://h:1/v1"}, "o", "http://h:1/v1/messages"),
    ],
)  # fmt: skip
def test_messages_have_names_of_their_own(
    variables: dict[str, str], options: dict[str, str], key: str, posted: str
) -> None:
    given = {"deployment": "claude", "endpoint": "messages", **options}
    chat = build_settings(given, Environment(variables, {}), {"chat"}).chat
    assert chat is not None
    address = chat_endpoint(chat, Sending()).at(path_of(chat))
    assert (address.url, address.headers["x-api-key"]) == (posted, key)


def test_anthropics_names_are_for_messages_alone() -> None:
    with pytest.raises(BadInput) as raised:
        build_settings({"deployment": "m"}, Environment(ANTHROPIC, {}), {"chat"})
    assert "chat endpoint: expected --host, AZURE_OPENAI_ENDPOINT or OPENAI_BASE_URL" in raised.value.problems[0]
    options = {"host": "https://api.openai.com/v1", "deployment": "m"}
    with pytest.raises(BadInput) as raised:
        build_settings(options, Environment({"ANTHROPIC_API_KEY": "sk-ant-1"}, {}), {"chat"})
    assert raised.value.problems[0].startswith("API key: expected a key or --auth entra, got none")


def test_anthropics_key_goes_to_its_own_server() -> None:
    options = {"host": "https://elsewhere.example", "deployment": "m", "endpoint": "messages"}
    with pytest.raises(BadInput) as raised:
        build_settings(options, Environment(ANTHROPIC, {}), {"chat"})
    assert "got ANTHROPIC_API_KEY, which came with https://api.anthropic.com" in raised.value.problems[0]
