"""``python -m benchmarks.gpu.worker PART``: run one part here; each row is a line of JSON on stdout, all other text on stderr."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable

from .parts import PARTS, Row, Settings, reason

__all__ = ["main", "run"]


def run(part: str, settings: Settings, emit: Callable[[Row], None], say: Callable[[str], None]) -> None:
    """Give all rows of a part to `emit`; one without a name, and with a fault, where the part itself failed."""
    try:
        for row in importlib.import_module(f".{part}", __package__).rows(settings):
            emit(row)
            say(f"  {part}: {row['name']}{': ' + row['fault'] if row.get('fault') else ''}")
    except Exception as error:
        emit({"fault": reason(error)})


def main(arguments: list[str]) -> None:
    """Run the part that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.worker", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--peers", default="")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--share", default="0/1", help="which of how many processes this is")
    parser.add_argument("--unpooled", action="store_true", help="an allocation for each array, so that tools see its ends")
    options = parser.parse_args(arguments)
    # Libraries print what they like: their stdout becomes stderr, and only the rows go where stdout went.
    rows = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def emit(row: Row) -> None:
        rows.write(json.dumps(row) + "\n")
        rows.flush()  # whatever happens next, this row is kept

    if options.unpooled:
        import cupy

        cupy.cuda.set_allocator(None)
    peers = tuple(filter(None, options.peers.split(",")))
    number, count = map(int, options.share.split("/"))
    settings = Settings(options.seconds, options.small, peers, (number, count))
    run(options.part, settings, emit, lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
