"""Headers of caches, as their documents have them, and what they say."""

from __future__ import annotations

import pytest

from tokenswarm.client.response_cache import from_cache

HITS = [
    ("age", "12"),
    ("age", " 3 "),
    ("cache-status", "ExampleCache; hit"),
    ("cache-status", 'OriginCache; fwd=uri-miss, "CDN, Inc."; hit; ttl=1100'),
    ("cache-status", "ExampleCache; hit=?1"),
    ("x-cache", "HIT"),
    ("x-cache", "MISS, HIT"),
    ("x-cache", "HIT (3)"),
    ("x-cache", "HIT-STALE"),
    ("x-cache", "Hit from cloudfront"),
    ("x-cache", "RefreshHit from cloudfront"),
    ("x-cache", "TCP_HIT"),
    ("x-cache", "TCP_REMOTE_HIT"),
    ("x-cache", "TCP_MEM_HIT from a23-45-67-8.deploy.akamaitechnologies.com (AkamaiGHost/11.3.1)"),
    ("akamai-cache-status", "Hit from child"),
    ("akamai-cache-status", "HitStale from child"),
    ("x-cache-hits", "0, 2"),
    ("x-vsr-cache-hit", "true"),
    ("x-tyk-cached-response", "1"),
    ("cf-cache-status", "HIT"),
    ("cf-cache-status", "STALE"),
    ("cf-cache-status", "UPDATING"),
    ("cf-cache-status", "REVALIDATED"),
    ("cf-aig-cache-status", "HIT"),
    ("helicone-cache", "HIT"),
    ("x-portkey-cache-status", "HIT"),
    ("x-portkey-cache-status", "SEMANTIC HIT"),
    ("x-cache-status", "Hit"),
    ("x-openrouter-cache-status", "HIT"),
    ("x-vercel-cache", "HIT"),
    ("x-litellm-cache-key", "c2adb5ea1bbd0cc5"),
]
OTHERS = [
    ("age", "0"),
    ("age", ""),
    ("age", "-1"),
    ("age", "unknown"),
    ("cache-control", "max-age=5, stale-while-revalidate=30"),
    ("cache-status", "ExampleCache; fwd=stale; fwd-status=200; stored"),
    ("cache-status", 'ExampleCache; fwd=uri-miss; key="a; hit"'),
    ("cache-status", "ExampleCache; hit=?0"),
    ("x-cache", "MISS"),
    ("x-cache", "Miss from cloudfront"),
    ("x-cache", "MISS, MISS"),
    ("x-cache", "HIT-FOR-PASS"),
    ("x-cache", "TCP_MISS"),
    ("x-cache", "TCP_REFRESH_MISS"),
    ("x-cache", "CONFIG_NOCACHE"),
    ("x-cache", "no-hit"),
    ("x-cache-lookup", "HIT from proxy.example:3128"),
    ("x-cache-hits", "0, 0"),
    ("x-cache-hit", "false"),
    ("x-cache-key", "hit"),
    ("x-cache-status", "EXPIRED"),
    ("x-cache-status", "BYPASS"),
    ("cf-cache-status", "DYNAMIC"),
    ("cf-aig-cache-status", "MISS"),
    ("helicone-cache", "MISS"),
    ("x-portkey-cache-status", "DISABLED"),
    ("x-portkey-cache-status", "SEMANTIC MISS"),
    ("x-litellm-cache-key", ""),
    ("x-prompt-cache-hit", "true"),
    ("x-prefix-cache-status", "HIT"),
    ("x-cache-hit-tokens", "512"),
    ("fireworks-cached-prompt-tokens", "512"),
    ("x-served-by", "cache-lhr-1"),
]


@pytest.mark.parametrize(("name", "value"), HITS)
def test_a_cache_that_has_answered_says_so(name: str, value: str) -> None:
    assert from_cache({"content-type": "text/event-stream", name: value})


@pytest.mark.parametrize(("name", "value"), OTHERS)
def test_nothing_else_is_taken_for_it(name: str, value: str) -> None:
    assert not from_cache({"content-type": "text/event-stream", name: value})
