"""A CuPy program and its gradient: the speed of sound inside a body, by ultrasound from all around.

The program is written for CuPy and knows nothing of gpugrad: transducers on a ring send pulses in turn, and all of them hear what
comes through. Called on a Tensor, CuPy's functions and the Tensor's own methods put what they compute on the tape, and one
walk back gives the derivative of a misfit by the speed in every cell; finite differences would run the program once for each.
With it the speed is found that explains what was heard: here what the program itself computed for a body, without noise.
(In geophysics this is 'full waveform inversion'.)

Where there is no CuPy or no GPU the same functions run on NumPy, and the program says so.

    python examples/cupy_script.py
"""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy

import gpugrad as gg
from gpugrad import optim

try:
    import cupy as cp
except ImportError:
    import numpy as cp

# --- a program for CuPy -------------------------------------------------------------------------------------------

WATER = 0.5
"""Its speed of sound, in cells a step; at 0.7 the waves would grow without bounds."""


def ring(side: int) -> tuple[Any, Any]:
    """Rows and columns of 96 transducers on a ring."""
    angles = 2 * math.pi * cp.arange(96) / 96
    return tuple(cp.rint(side / 2 + 0.42 * side * wave(angles)).astype(int) for wave in (cp.sin, cp.cos))


def distance(side: int, row: float, column: float) -> Any:
    """Of each cell from a point; the ring has radius 1 about (0, 0)."""
    place = (cp.arange(side) - side / 2) / (0.42 * side)
    return cp.hypot(place[:, None] - row, place - column)


def ultrasound(speed: Any, pulses: int) -> Iterator[tuple[Any, Any]]:
    """Step by step, the pressure (pulses, rows, columns), each pulse from another transducer, and what all of them hear."""
    side = speed.shape[0]
    rows, columns = ring(side)
    start = cp.zeros((pulses, side, side), cp.float32)
    sender = 96 * cp.arange(pulses) // pulses
    start[cp.arange(pulses), rows[sender], columns[sender]] = 1
    edge = cp.minimum(cp.arange(side), cp.arange(side)[::-1])
    absorb = cp.exp(-0.015 * cp.clip(5 - cp.minimum(edge[:, None], edge), 0, 5) ** 2).astype(cp.float32)
    squared = cp.square(speed[1:-1, 1:-1])
    before = now = speed * cp.zeros_like(start)  # where speed is a Tensor this is one, and may be written to
    for step in range(int(2.8 * side)):
        t = (step - 16) / 6
        middle = now[:, 1:-1, 1:-1]
        around = now[:, 2:, 1:-1] + now[:, :-2, 1:-1] + now[:, 1:-1, 2:] + now[:, 1:-1, :-2]
        after = now * 2 - before + start * ((1 - 2 * t * t) * math.exp(-t * t))
        after[:, 1:-1, 1:-1] += squared * (around - middle * 4)
        before, now = now * absorb, after * absorb
        yield now, now[:, rows, columns]


def misfit(speed: Any, heard: list[Any]) -> Any:
    """Half the sum of squares of what is heard too much or too little."""
    pairs = zip(ultrasound(speed, len(heard[0])), heard, strict=True)
    return sum(cp.square(now - then).sum() for (_, now), then in pairs) / 2


def body(side: int) -> Any:
    """The speed of sound in water with a body in it, and in that three organs."""
    speed = cp.full((side, side), WATER)
    parts = ((0.75, 0.0, 0.0, 1.03), (0.2, 0.1, -0.35, 0.95), (0.2, 0.1, 0.35, 0.95), (0.13, -0.4, 0.0, 1.12))
    for radius, row, column, ratio in parts:
        speed = cp.where(distance(side, row, column) < radius, WATER * ratio, speed)
    return speed.astype(cp.float32)


# --- its gradient, and what it is good for ------------------------------------------------------------------------


def find(heard: list[Any], side: int, runs: int) -> tuple[Any, list[float], Any]:
    """L-BFGS, from water alone; returns the speed, the misfit in each run and the first gradient."""
    inside = (distance(side, 0, 0) < 0.9).astype(cp.float32)
    change: Any = gg.tensor(cp.zeros((side, side), cp.float32), requires_grad=True)
    optimizer = optim.LBFGS([change], max_iter=runs, max_eval=runs, history_size=20, line_search_fn="strong_wolfe")
    misfits: list[float] = []
    gradients: list[Any] = []
    bar = gg.progress(total=runs, unit="run", disable=None)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = misfit(WATER + change * inside, heard)
        loss.backward()
        misfits.append(loss.item())
        if not gradients:
            gradients.append(change.grad.numpy().copy())
        bar.update()
        bar.set_postfix(misfit=f"{misfits[-1]:.4f}", refresh=False)
        return loss

    optimizer.step(closure)
    bar.close()
    return WATER + change.detach().data * inside, misfits, gradients[0]


def host(array: Any) -> Any:
    """A NumPy array, from where it is."""
    return gg.asarray(array).numpy()


def draw(truth: Any, wave: Any, gradient: Any, found: Any, misfits: list[float], path: Path) -> None:
    """The body, a pulse on its way through it, the first gradient, the speed that was found; the misfit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows, columns = map(host, ring(len(truth)))
    figure, grid = pyplot.subplots(2, 3, figsize=(12, 7.5), layout="constrained")
    low, high = host(truth).min() / WATER, host(truth).max() / WATER
    signed = {"A pulse on its way": host(wave), "First derivative by the speed": gradient}
    for axes, (title, image) in zip(grid[0, 1:], signed.items()):
        limit = numpy.quantile(numpy.abs(image), 0.99)
        axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(title)
    for axes, image, title in ((grid[0, 0], truth, "The body: speed of sound"), (grid[1, 0], found, "Found")):
        shown = axes.imshow(host(image) / WATER, cmap="viridis", vmin=low, vmax=high)
        axes.set_title(title)
        figure.colorbar(shown, ax=axes, shrink=0.8)
    for axes in (*grid[0], grid[1, 0]):
        axes.plot(columns, rows, "k.", markersize=2)
        axes.set(xticks=[], yticks=[])
    for image, style, name in ((truth, "k", "body"), (found, "C0", "found")):
        grid[1, 1].plot(host(image)[int(0.54 * len(truth))] / WATER, style, label=name)
    grid[1, 1].set(xlabel="column", title="Speed along a row, through two organs")
    grid[1, 1].legend()
    grid[1, 2].semilogy(misfits, ".-")
    grid[1, 2].set(xlabel="run with gradient", title="Misfit")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Make the recordings, find the body from them and draw; returns misfits, errors of the speed and times."""
    global cp
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="cuda: CuPy, cpu: NumPy (%(default)s)")
    parser.add_argument("--side", type=int, default=88, help="rows and columns of cells (%(default)s)")
    parser.add_argument("--pulses", type=int, default=8, help="how many transducers send (%(default)s)")
    parser.add_argument("--runs", type=int, default=50, help="how often to run the program with its gradient (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    on_gpu = gg.zeros((), device=args.device).device != "cpu"  # an error where a GPU was asked for and is not there
    cp = importlib.import_module("cupy") if on_gpu else numpy
    print("on CuPy" if on_gpu else "on NumPy: " + ("as asked" if args.device == "cpu" else "there is no CuPy with a GPU here"))
    truth, water = body(args.side), cp.full((args.side, args.side), cp.float32(WATER))
    waves, heard = map(list, zip(*ultrasound(truth, args.pulses)))
    began = perf_counter()
    before = float(misfit(water, heard))
    plain = perf_counter() - began
    began = perf_counter()
    found, misfits, gradient = find(heard, args.side, args.runs)
    each = (perf_counter() - began) / len(misfits)
    print(f"a run takes {plain:.3f} s, and with the gradient {each:.3f} s; by differences it would take {water.size + 1} runs")
    wrong = [float(cp.abs(speed - truth).mean() / WATER) for speed in (water, found)]
    print(f"misfit {before:.4f} with water alone, {misfits[-1]:.6f} after {len(misfits)} runs")
    print(f"mean error of the speed {wrong[0]:.3%} with water alone, {wrong[1]:.3%} at the end")
    args.out.mkdir(parents=True, exist_ok=True)
    draw(truth, waves[args.side][0], gradient, found, misfits, args.out / "cupy_script.png")
    print(f"wrote cupy_script.png to {args.out}/")
    return {"before": before, "after": misfits[-1], "wrong before": wrong[0], "wrong after": wrong[1], "ratio": each / plain}


if __name__ == "__main__":
    main()
