"""What doctests and tests share: four printed digits, so that examples hold on every processor, and hypothesis' seeds.

The suite draws the same examples on every run, so that a change is judged by what it changed. To search further:
``pytest --hypothesis-profile=explore``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import pytest
from hypothesis import settings

collect_ignore = ["tests/cupy_on_path"]  # for processes that a test starts: to import it is to replace CuPy

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def _four_digits() -> Iterator[None]:
    with numpy.printoptions(precision=4):
        yield
