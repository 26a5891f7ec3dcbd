"""A desk for each public case."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.desk import Desk, DeskOf, lay_out


@pytest.fixture
def desk_of(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> DeskOf:
    """`desk_of("01-cvat-project-subsets")`: that case's files, and `tubelet` typed beside them."""

    def lay(case: str) -> Desk:
        return lay_out(shared, case, tmp_path, capsys)

    return lay
