"""Fixtures of the comparisons with reference numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.originals import TOLERANCE


@pytest.fixture
def report(record_property: Callable[[str, Any], None]) -> Callable[[str, float], None]:
    """Print the error beside the name (`pytest -s`), keep it in the XML, and judge it."""

    def judge(name: str, error: float) -> None:
        record_property("relative_error", error)
        sys.stdout.write(f"\n{name}: relative error {error:.1e}")
        assert error < TOLERANCE

    return judge
