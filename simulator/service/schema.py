"""JSON that satisfies a JSON schema, as far as models' structured outputs allow schemas to go. Pure and seeded."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

DEEPEST = 8
"""Nested schemas beyond this depth (a schema that refers to itself) get the least that they allow."""

FORMATS = {
    "date-time": "2026-01-15T09:30:00Z",
    "date": "2026-01-15",
    "time": "09:30:00Z",
    "duration": "P3D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "3f2b8c1e-5a4d-4b6f-9c7e-1d2a3b4c5d6e",
    "uri": "https://example.com/",
}


class Unsatisfiable(ValueError):
    """A schema that nothing here satisfies."""


def satisfy(schema: Mapping[str, Any] | bool, rng: random.Random, words: list[str]) -> Any:
    """A value that `schema` accepts. Raises Unsatisfiable."""
    root = schema if isinstance(schema, Mapping) else {}
    return _Generator(root, rng, words).value(schema, 0)


class _Generator:
    def __init__(self, root: Mapping[str, Any], rng: random.Random, words: list[str]) -> None:
        self._root = root
        self._rng = rng
        self._words = words

    def value(self, schema: Any, depth: int) -> Any:
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(_listed(schema["enum"]))
        for name in ("anyOf", "oneOf"):
            if name in schema:
                options = _listed(schema[name])
                chosen = min(options, key=_refers) if depth > DEEPEST else self._rng.choice(options)
                return self.value(chosen, depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        return self._of_kind(kind, schema, depth)

    def _of_kind(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "string":
            return self._string(schema)
        if kind in ("integer", "number"):
            return self._number(schema, kind == "integer")
        if kind == "boolean":
            return self._rng.random() < 0.5
        if kind == "null":
            return None
        raise Unsatisfiable(f"type {kind!r}")

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = [name for name in schema.get("required", ()) if name not in properties]
        needed = schema.get("required", ())
        chosen = properties if depth < DEEPEST else {name: properties[name] for name in properties if name in needed}
        values = {name: self.value(one, depth + 1) for name, one in chosen.items()}
        return values | {name: self._string({}) for name in required}

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        low, high = schema.get("minItems", 0), schema.get("maxItems")
        wanted = max(low, 0 if depth > DEEPEST else 2)
        count = wanted if high is None else min(wanted, high)
        return [self.value(schema.get("items", {"type": "string"}), depth + 1) for _ in range(count)]

    def _string(self, schema: Mapping[str, Any]) -> str:
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]]
        if "pattern" in schema:
            raise Unsatisfiable("'pattern' is not permitted")
        text = " ".join(self._rng.choices(self._words, k=3))
        while len(text) < schema.get("minLength", 0):
            text += " " + self._rng.choice(self._words)
        return text[: schema.get("maxLength", len(text))]

    def _number(self, schema: Mapping[str, Any], whole: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        low = (0 if high is None else high - 100) if low is None else low
        high = low + 100 if high is None else high
        step = schema.get("multipleOf", 1 if whole else None)
        if step:
            first = -(-low // step) + ("exclusiveMinimum" in schema and low % step == 0)
            last = high // step - ("exclusiveMaximum" in schema and high % step == 0)
            if first > last:
                raise Unsatisfiable("no number within its limits")
            value = self._rng.randint(int(first), int(last)) * step
            return int(value) if whole else value
        return float(low + (high - low) * (0.25 + self._rng.random() / 2))

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        """`schema` with references followed and `allOf` merged."""
        if isinstance(schema, bool):
            return {"type": "string"}
        if not isinstance(schema, Mapping):
            raise Unsatisfiable("expected an object")
        if "$ref" in schema:
            return self._resolved(self._target(str(schema["$ref"])))
        merged = dict(schema)
        for part in merged.pop("allOf", ()):
            inner = dict(self._resolved(part))
            for name, join in (("properties", dict), ("required", list)):
                if name in merged and name in inner:
                    both = merged[name] | inner[name] if join is dict else [*merged[name], *inner[name]]
                    inner[name] = both
            merged |= inner
        return merged

    def _target(self, reference: str) -> Any:
        found: Any = self._root
        for name in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            if not isinstance(found, Mapping) or name not in found:
                raise Unsatisfiable(f"reference {reference!r} leads nowhere")
            found = found[name]
        return found


def _refers(schema: Any) -> bool:
    """Whether a schema leads to others, which may lead back to it."""
    return "$ref" in str(schema)


def _listed(values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise Unsatisfiable("expected a list that is not empty")
    return values
