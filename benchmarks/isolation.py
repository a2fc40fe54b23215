"""A peer's program in a process of its own, run in turns.

In one process, all candidates share a heap: memory that one of them keeps is memory that the others need not ask the
system for again, and a baseline may run 1.4 times as fast next to a library as it would alone. Here each has the heap it
would have in a script of its own.
"""

from __future__ import annotations

import gc
import multiprocessing
from multiprocessing.connection import Connection

from . import check
from .harness import time_turn
from .peers import load
from .workloads import WORKLOADS, make_problem

__all__ = ["Isolated"]


class Isolated:
    """One peer on one workload, built and checked in a new process, with the cores and the environment of this one.

    Attributes
    ----------
    fault : str
        Why it cannot be timed; empty where it can.
    """

    def __init__(self, workload: str, peer: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, workload, peer, threads), daemon=True)
        self._process.start()
        theirs.close()
        self.fault: str = self._connection.recv()

    def turn(self, count: int) -> float:
        """Seconds for `count` steps."""
        self._connection.send(count)
        return float(self._connection.recv())

    def close(self) -> str:
        """End the process; returns what is wrong with the state that the steps left behind."""
        self._connection.send(0)
        fault = str(self._connection.recv())
        self._process.join()
        return fault


def _serve(connection: Connection, workload_name: str, peer: str, threads: int) -> None:
    workload = WORKLOADS[workload_name]
    problem = make_problem(workload)
    try:
        case = load(peer, threads).build(workload, problem)
        fault = check.fault_in_answers(workload, problem, case)
    except Exception as error:
        connection.send(f"failed: {type(error).__name__}: {error}")
        return
    connection.send(f"wrong: {fault}" if fault else "")
    if fault:
        return
    gc.collect()
    gc.freeze()
    while count := connection.recv():
        connection.send(time_turn(case.step, count))
    connection.send(check.fault_in_state(case.state()))
