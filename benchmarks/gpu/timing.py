"""Times by CUDA events, of work that is much larger than the caches, next to a copy on the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..harness import calls_per_turn, interleave, plan_rounds

__all__ = ["event_turn", "time_together"]

Step = Callable[[], object]


def event_turn(cupy: Any, step: Step) -> Callable[[int], float]:
    """Turns of a step, timed on the device; all libraries here use its default stream."""
    start, stop = cupy.cuda.Event(), cupy.cuda.Event()

    def turn(count: int) -> float:
        start.record()
        for _ in range(count):
            step()
        stop.record()
        stop.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, stop)) / 1000

    return turn


def time_together(cupy: Any, steps: Mapping[str, Step], budget_seconds: float) -> dict[str, list[float]]:
    """Seconds per call of each step, round by round; all of them in every round."""
    turns = {name: event_turn(cupy, step) for name, step in steps.items()}
    for turn in turns.values():
        turn(3)  # compiles, and fills the memory pools
    calls = {name: calls_per_turn(turn, min(0.005, budget_seconds / 100)) for name, turn in turns.items()}
    trial = interleave(turns, 1, 0, calls)
    rounds = plan_rounds(sum(times[0] * calls[name] for name, times in trial.items()), budget_seconds, most=100)
    return interleave(turns, rounds, 1, calls)
