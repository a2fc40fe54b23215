"""Timing, and nothing else: it knows neither the workloads nor the libraries.

A machine that others use drifts by tens of per cent in seconds, so a time in seconds says little and a ratio of two
times taken one after the other says a lot. All candidates run in short turns, round after round;
each turn is divided by the baseline's turn of the same round, and the median of those ratios is the result.
"""

from __future__ import annotations

import functools
import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Spread", "calls_per_turn", "in_process", "interleave", "plan_rounds", "ratios", "spread", "time_turn"]

Step = Callable[[], object]
Turn = Callable[[int], float]
"""Runs a step that many times and returns the seconds it took."""


@dataclass(frozen=True)
class Spread:
    """Median of a sample, with its 20th and 80th percentile."""

    median: float
    p20: float
    p80: float


def interleave(
    turns: Mapping[str, Turn],
    rounds: int,
    warmup: int = 1,
    calls: Mapping[str, int] | None = None,
) -> dict[str, list[float]]:
    """Time each candidate once a round, all of them in every round.

    The order is shuffled each round (by a fixed seed), so that no step always finds the caches and the allocator
    as the same neighbour left them.

    Parameters
    ----------
    turns : mapping of str to callable
        What to time, by name; see `in_process`.
    rounds : int
        Timed rounds.
    warmup : int
        Rounds that run first and are not timed.
    calls : mapping of str to int, optional
        How many steps make a turn; 1 for a name that is left out.

    Returns
    -------
    dict of str to list of float
        Seconds per call: one figure a round, in the order of the rounds, for every name.
    """
    calls = calls or {}
    names = list(turns)
    order = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with _settled_garbage():
        for index in range(-warmup, rounds):
            for name in order.sample(names, len(names)):
                count = calls.get(name, 1)
                elapsed = turns[name](count)
                if index >= 0:
                    seconds[name].append(elapsed / count)
    return seconds


def calls_per_turn(turn: Turn, turn_seconds: float = 0.005) -> int:
    """Find how many steps a turn must have to last `turn_seconds`.

    A turn of many calls drowns the clock's own cost and the cold start after somebody else's turn.

    Parameters
    ----------
    turn : callable
        The candidate; it runs some times here, which also warms it up.
    turn_seconds : float
        How long a turn should last.

    Returns
    -------
    int
        At least 1.
    """
    turn(1)
    count = 1
    while (elapsed := turn(count)) < turn_seconds:
        # At most tenfold at once: the first calls are the slowest and would understate what fits.
        scale = min(10.0, 1.1 * turn_seconds / max(elapsed, 1e-9))
        count = max(count + 1, int(count * scale))
    return count


def plan_rounds(round_seconds: float, budget_seconds: float, most: int, least: int = 5) -> int:
    """How many rounds fit into a budget: never more than `most`, and `least` even if they do not fit.

    Parameters
    ----------
    round_seconds : float
        What one round takes.
    budget_seconds : float
        What all rounds together may take.
    most, least : int
        Bounds; `most` wins where they disagree.

    Returns
    -------
    int
        Number of rounds.
    """
    fitting = int(budget_seconds / max(round_seconds, 1e-9))
    return min(most, max(least, fitting))


def ratios(seconds: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Divide each round's time by the baseline's time in the same round.

    Parameters
    ----------
    seconds, baseline : sequence of float
        Times in the order of the rounds, equally many.

    Returns
    -------
    list of float
        One ratio a round; below 1 is faster than the baseline.
    """
    return [mine / theirs for mine, theirs in zip(seconds, baseline, strict=True)]


def spread(sample: Sequence[float]) -> Spread:
    """Median, 20th and 80th percentile of a sample that is not empty."""
    if len(sample) == 1:
        return Spread(sample[0], sample[0], sample[0])
    fifths = statistics.quantiles(sample, n=5, method="inclusive")
    return Spread(statistics.median(sample), fifths[0], fifths[3])


def _nothing() -> None:
    pass


def in_process(step: Step, synchronize: Step = _nothing) -> Turn:
    """The turns of a step that runs here; `synchronize` waits for a device that steps only give work to."""
    return functools.partial(time_turn, step, synchronize=synchronize)


def time_turn(step: Step, count: int, synchronize: Step = _nothing) -> float:
    """Seconds for `count` steps."""
    clock = time.perf_counter
    start = clock()
    for _ in range(count):
        step()
    synchronize()
    return clock() - start


@contextmanager
def _settled_garbage() -> Iterator[None]:
    """Keep the collector on, as users have it, but spare every turn the objects of the other peers.

    Imported frameworks own hundreds of thousands of objects. A full collection, which any peer's allocations may set
    off, would walk all of them in whoever's turn it falls. Frozen objects are not walked.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
