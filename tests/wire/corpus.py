"""All answers of the corpus."""

from __future__ import annotations

from tests.wire.api_cases import API_CASES
from tests.wire.cases import SHAPES
from tests.wire.field_cases import FIELD
from tests.wire.further_cases import FURTHER

CASES = [*SHAPES, *FIELD, *API_CASES, *FURTHER]
