"""What doctests and tests share: arrays are shown with four digits, so that examples hold on every processor."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import pytest


@pytest.fixture(autouse=True)
def _four_digits() -> Iterator[None]:
    with numpy.printoptions(precision=4):
        yield
