"""``python -m gpugrad info``: what gpugrad finds on this machine."""

from __future__ import annotations

import argparse

from .info import report


def main(arguments: list[str] | None = None) -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(prog="python -m gpugrad", description=__doc__)
    parser.add_argument("command", choices=["info"], help="versions, devices, and what is missing and how to install it")
    parser.parse_args(arguments)
    print(report())


if __name__ == "__main__":
    main()
