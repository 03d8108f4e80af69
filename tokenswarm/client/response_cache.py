"""Whether an answer is one that a gateway or proxy had kept from before, by its headers. No I/O, no clock.

Not meant is the prompt cache of a model, which has its own count (`cached_tokens`): there the model still answers.
Sources: RFC 9111, 5.1 (Age); RFC 9211 (Cache-Status); documentation of Cloudflare (CF-Cache-Status,
cf-aig-cache-status), Fastly, CloudFront, Akamai and Azure Front Door (X-Cache), nginx and Kong (X-Cache-Status),
Helicone (Helicone-Cache), Portkey (x-portkey-cache-status) and LiteLLM (x-litellm-cache-key, on hits only).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_OTHER = re.compile(r"prompt|prefix|context|token|kv-|control|lookup|-ttl|-key$")
"""In names of headers that do not say whether a cache answered: Squid's lookup may hit where nothing is used."""
_IS_FLAG = re.compile(r"(?:cache-hits?|cached|cached-response|from-cache)$")
"""Ends names whose value is true or a count."""
_TRUE = re.compile(r"\b(?:true|yes|0*[1-9]\d*)\b", re.I)
_HIT = re.compile(
    r"(?:^|[\s,;])(?!not?[_-])(?:[a-z]+[_-])*(?:refresh)?(?:hit|stale|updating|revalidated)(?:[_-]?stale|=\?1)?(?=$|[\s,;:/(])",
    re.I,
)
"""The word of a value that says so: `HIT`, `TCP_MEM_HIT`, `RefreshHit from cloudfront`, `name; hit; ttl=5`; not
`fwd=stale`, `hit=?0` or `HIT-FOR-PASS`."""
_QUOTED = re.compile(r'"[^"]*"')


def from_cache(headers: Mapping[str, str]) -> bool:
    """Whether a cache says that it has given the answer; names are in lower case. One that says nothing is not seen."""
    age = headers.get("age", "").strip()
    return (
        (age.isdecimal() and age.strip("0") != "")
        or bool(headers.get("x-litellm-cache-key"))
        or any([_says_hit(name, headers[name]) for name in headers if "cache" in name])
    )


def _says_hit(name: str, value: str) -> bool:
    if _OTHER.search(name):
        return False
    said = _QUOTED.sub("", value) if '"' in value else value
    return (_HIT.search(said) or (_IS_FLAG.search(name) and _TRUE.search(said))) is not None
