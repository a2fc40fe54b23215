"""One workload at a time: build every peer's program, check it, time them all together, look at what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from . import check
from .harness import Spread, Turn, calls_per_turn, in_process, interleave, plan_rounds, ratios, spread
from .isolation import Isolated
from .peers import Case, load
from .workloads import Problem, Workload, make_problem, smaller

__all__ = ["BASELINE", "Row", "load_peers", "run_workload", "run_workload_isolated"]

BASELINE = "numpy"


@dataclass
class Row:
    """One peer on one workload. `fault` says why there are no figures, or why they must not be trusted."""

    workload: str
    peer: str
    fault: str = ""
    ratio: Spread | None = None
    seconds: Spread | None = None
    rounds: int = 0
    calls_per_turn: int = 0
    microseconds_per_op: float | None = field(default=None)


def load_peers(names: Sequence[str], threads: int, say: Callable[[str], None]) -> dict[str, ModuleType]:
    """Import the peers that are installed, the baseline always first; say which ones are not."""
    peers = {}
    for name in dict.fromkeys([BASELINE, *names]):
        try:
            peers[name] = load(name, threads)
        except ImportError as error:
            say(f"{name}: skipped, not installed ({error})")
    return peers


def run_workload(
    workload: Workload,
    peers: Mapping[str, ModuleType],
    budget_seconds: float,
    repeats: int,
    say: Callable[[str], None],
    *,
    device: str = "cpu",
    baseline: str = BASELINE,
) -> list[Row]:
    """Check and time one workload in all peers, in this process.

    Parameters
    ----------
    workload : Workload
        What to run.
    peers : mapping of str to module
        From `load_peers`.
    budget_seconds : float
        About how long to time, building and checking apart.
    repeats : int
        The most rounds to time.
    say : callable
        Takes a line of progress.
    device : str
        What the peers compute on.
    baseline : str
        The peer whose times the others' are divided by.

    Returns
    -------
    list of Row
        One for each peer that takes part.
    """
    problem = make_problem(workload)
    rows = {name: Row(workload.name, name) for name in peers}
    cases: dict[str, Case] = {}
    for name, peer in peers.items():
        rows[name].fault, case = _build_and_check(workload, problem, peer, device)
        if case is not None:
            cases[name] = case
    if device != "cpu":  # there, what is asked is only how the others do beside it
        baseline = next((name for name in (baseline, *rows) if not rows[name].fault), baseline)
    _report_faults(workload, rows, baseline, say)
    turns = {name: in_process(case.step, case.synchronize) for name, case in cases.items()}
    _time_all(workload, turns, rows, baseline, budget_seconds, repeats)
    for name, case in cases.items():
        rows[name].fault = check.fault_in_state(case.state())
    _report_states(workload, rows, cases, say)
    return list(rows.values())


def run_workload_isolated(
    workload: Workload, peers: Sequence[str], threads: int, budget_seconds: float, repeats: int, say: Callable[[str], None]
) -> list[Row]:
    """`run_workload`, each peer in a process of its own."""
    rows = {name: Row(workload.name, name) for name in peers}
    cases: dict[str, Isolated] = {}
    for name in peers:
        case = Isolated(workload.name, name, threads)
        rows[name].fault = case.fault
        if not case.fault:
            cases[name] = case
    _report_faults(workload, rows, BASELINE, say)
    _time_all(workload, {name: case.turn for name, case in cases.items()}, rows, BASELINE, budget_seconds, repeats)
    for name, case in cases.items():
        rows[name].fault = case.close()
    _report_states(workload, rows, cases, say)
    return list(rows.values())


def _build_and_check(workload: Workload, problem: Problem, peer: ModuleType, device: str) -> tuple[str, Case | None]:
    place = {} if device == "cpu" else {"device": device}
    # A peer that breaks is a result, and the others should still be measured.
    try:
        checked, its_problem = workload, problem
        if workload.check_scale > 1:
            checked = smaller(workload, workload.check_scale)
            its_problem = make_problem(checked)
        case = peer.build(checked, its_problem, **place)
        fault = check.fault_in_answers(checked, its_problem, case)
        if not fault and checked is not workload:
            case = peer.build(workload, problem, **place)
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}", None
    return (f"wrong: {fault}", None) if fault else ("", case)


def _report_faults(workload: Workload, rows: Mapping[str, Row], baseline: str, say: Callable[[str], None]) -> None:
    for name, row in rows.items():
        if row.fault:
            say(f"{workload.name} {name}: {row.fault}; not timed")
    if rows[baseline].fault:
        raise RuntimeError(f"{workload.name}: the baseline is wrong: {rows[baseline].fault}")


def _report_states(workload: Workload, rows: Mapping[str, Row], timed: Iterable[str], say: Callable[[str], None]) -> None:
    for name in timed:
        if rows[name].fault:
            say(f"{workload.name} {name}: {rows[name].fault} after timing; do not trust its figures")


def _time_all(
    workload: Workload, turns: Mapping[str, Turn], rows: Mapping[str, Row], baseline: str, budget_seconds: float, repeats: int
) -> None:
    calls = {name: calls_per_turn(turn) for name, turn in turns.items()}
    trial = interleave(turns, rounds=1, warmup=0, calls=calls)
    round_seconds = sum(times[0] * calls[name] for name, times in trial.items())
    rounds = plan_rounds(round_seconds, budget_seconds, most=repeats)
    seconds = interleave(turns, rounds, warmup=1, calls=calls)
    for name, times in seconds.items():
        row = rows[name]
        row.ratio, row.seconds = spread(ratios(times, seconds[baseline])), spread(times)
        row.rounds, row.calls_per_turn = rounds, calls[name]
        if workload.family == "chain":
            row.microseconds_per_op = 1e6 * row.seconds.median / workload.sizes[0]
