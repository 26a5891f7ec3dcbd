"""Fixtures that every kind of test shares."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden figures beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data folder, absent here: {SHARED}")
    return SHARED
