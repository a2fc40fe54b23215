"""Inverse problems: programs written for NumPy and SciPy, fitted to measurements by scipy.optimize with exact derivatives.

The two programs below know nothing of gpugrad: they call functions of NumPy and `scipy.special`. Given a Tensor, these find
its rules by NumPy's protocols, and `gg.value_and_grad` and `gg.jacobian` give the derivatives that SciPy's optimisers ask for.
Without, SciPy measures derivatives by finite differences, and runs the program once more for each parameter.

1. `minimize(jac=True)`: the conductivity of each of 40 pieces of a rod, from thermometers along it while one end is heated.
2. `least_squares(jac=...)`: area, place, width and tail of each of five overlapping peaks of a chromatogram.

    python examples/scipy_inverse.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from scipy import optimize, special

import gpugrad as gg

# --- programs for NumPy and SciPy ---------------------------------------------------------------------------------


def rod(log_conductivity: Any, heat: Any) -> Any:
    """Temperatures (steps, pieces) of a rod of equal pieces, by implicit steps; `heat` (pieces,) flows in all the time."""
    k = np.exp(log_conductivity)
    between = 2 / (1 / k[1:] + 1 / k[:-1])
    diagonal = 1 + np.pad(between, (0, 1)) + np.pad(between, (1, 0))
    step = np.linalg.inv(np.diag(diagonal) - np.diag(between, 1) - np.diag(between, -1))
    temperature, history = 0 * k, []
    for _ in range(120):
        temperature = step @ (temperature + heat)
        history.append(temperature)
    return np.stack(history)


def misfit(log_conductivity: Any, heat: Any, measured: Any) -> Any:
    """How badly the rod fits what thermometers at every fourth piece measured; rough rods cost a little too."""
    residual = rod(log_conductivity, heat)[:, ::4] - measured
    return 0.5 * np.sum(np.square(residual / NOISE)) + 100 * np.sum(np.square(np.diff(log_conductivity)))


def chromatogram(logs: Any, times: Any) -> Any:
    """The sum of exponentially modified Gaussians; logs of their areas, places, widths and tails, one after the other."""
    area, centre, width, tail = np.exp(logs).reshape(4, -1, 1)
    late, ratio = (times - centre) / width, width / tail
    rise = special.erfc((ratio - late) / np.sqrt(2))
    return np.sum(area / (2 * tail) * np.exp(ratio**2 / 2 - late * ratio) * rise, axis=0)


def residuals(logs: Any, times: Any, measured: Any) -> Any:
    """By how much the peaks miss the measurement, in units of its noise."""
    return (chromatogram(logs, times) - measured) / NOISE


# --- fitting them -------------------------------------------------------------------------------------------------

NOISE = 0.01


class Fit(NamedTuple):
    """What an optimiser found, and what it took."""

    x: Any
    cost: float
    runs: int  # of the plain program
    derivatives: int  # by gpugrad; each runs the program too
    seconds: float
    error: float  # of the first derivative, relative to its largest element


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        self.calls += 1
        return self.function(*args)


def by_complex_step(function: Callable[..., Any], x: Any, *data: Any) -> Any:
    """The derivative to the last digit, from the plain program: Im f(x + ih) / h has no difference in it to lose digits."""
    columns = [np.imag(function(x + 1e-30j * unit, *data)) / 1e-30 for unit in np.eye(len(x))]
    return np.stack(columns, axis=-1)


def fit(program: Callable[..., Any], derivative: Callable[..., Any], start: Any, data: tuple[Any, ...], automatic: bool) -> Fit:
    """By L-BFGS if the program gives a number, by least squares if it gives residuals."""
    plain, exact = Counted(program), Counted(derivative)
    began = perf_counter()
    if program is misfit:
        options = {"maxiter": 2000, "maxfun": 10**6, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-7}
        chosen = {"fun": exact, "jac": True} if automatic else {"fun": plain, "args": data}
        found = optimize.minimize(**chosen, x0=start, method="L-BFGS-B", bounds=[(-3, 3)] * len(start), options=options)
        first, cost = exact.function(start)[1], found.fun
    else:
        jac = (lambda x, *_: exact(x)) if automatic else "2-point"
        found = optimize.least_squares(plain, start, jac, args=data, xtol=1e-12, ftol=1e-12, gtol=1e-9, max_nfev=500)
        first, cost = exact.function(start), found.cost
    seconds = perf_counter() - began
    if not automatic:
        first = optimize.approx_fprime(start, program, np.sqrt(np.finfo(float).eps), *data)
    right = by_complex_step(program, start, *data)
    return Fit(found.x, float(cost), plain.calls, exact.calls, seconds, float(np.abs(first - right).max() / np.abs(right).max()))


def on(device: str, program: Callable[..., Any], transform: Callable[..., Any], data: tuple[Any, ...]) -> Callable[..., Any]:
    """The derivative of a program by its first argument, computed on a device; NumPy in, NumPy out."""
    known = [gg.asarray(array, device=device) for array in data]
    derivative = transform(lambda x: program(x, *known))
    if transform is gg.jacobian:
        return lambda x: derivative(gg.asarray(x, device=device)).numpy()
    return lambda x: tuple(part.numpy() for part in derivative(gg.asarray(x, device=device)))


def measure(rng: Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """The true rod and the true peaks, where fits start, what is known, and what was measured."""
    place = np.arange(40)
    heat = (place == 0).astype(float)
    conductivity = np.log(np.where((place > 12) & (place < 22), 0.5, 2.0)) + 0.3 * np.sin(place / 3)
    temperatures = rod(conductivity, heat)[:, ::4]
    times = np.linspace(0, 30, 400)
    peaks = np.log([[3.0, 5, 2, 4, 3], [6, 8.5, 11, 14.5, 17], [0.5, 0.6, 0.7, 0.7, 0.8], [0.8, 1.2, 0.9, 1.5, 1.1]]).ravel()
    signal = chromatogram(peaks, times)
    noisy = [clean + NOISE * rng.standard_normal(clean.shape) for clean in (temperatures, signal)]
    return (
        {"truth": conductivity, "start": np.zeros(40), "data": (heat, noisy[0])},
        {"truth": peaks, "start": peaks + 0.05 * rng.standard_normal(peaks.shape), "data": (times, noisy[1])},
    )


def draw(bar: dict[str, Any], peaks: dict[str, Any], fits: dict[str, Fit], path: Path) -> None:
    """The fitted rod and its thermometers, the fitted chromatogram and its peaks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ((axes, peak_axes), (heat_axes, run_axes)) = pyplot.subplots(2, 2, figsize=(12, 7), layout="constrained")
    found, (heat, measured) = fits["rod, automatic"].x, bar["data"]
    for x, style, name in ((bar["truth"], "k", "truth"), (bar["start"], "C7:", "start"), (found, "C0", "fit")):
        axes.stairs(np.exp(x), np.arange(41) - 0.5, baseline=None, color=style[:2], linestyle=style[2:] or "-", label=name)
    axes.set(xlabel="piece of the rod, heated at the left", ylabel="conductivity", title="A rod, found by minimize")
    axes.legend()
    heat_axes.plot(measured, "k.", markersize=2)
    heat_axes.plot(rod(found, heat)[:, ::4], linewidth=1)
    heat_axes.set(xlabel="time", ylabel="temperature", title="Its thermometers: measured (black) and of the fit")
    found, (times, measured) = fits["peaks, automatic"].x, peaks["data"]
    peak_axes.plot(times, measured, "k.", markersize=2, label="measured")
    peak_axes.plot(times, chromatogram(peaks["start"], times), "C7:", label="start")
    peak_axes.plot(times, chromatogram(found, times), "C0", label="fit")
    for i in range(5):
        peak_axes.fill_between(times, chromatogram(found.reshape(4, -1)[:, i], times), alpha=0.3)
    peak_axes.set(xlabel="minutes", ylabel="signal", title="A chromatogram, found by least_squares")
    peak_axes.legend()
    run_axes.barh(list(fits), [max(f.runs, f.derivatives) for f in fits.values()], color=["C0", "C3"] * 2, alpha=0.4, log=True)
    for row, f in enumerate(fits.values()):
        run_axes.text(1.5, row, f"{f.runs} runs, {f.derivatives} derivatives; error {f.error:.0e}", va="center")
    run_axes.invert_yaxis()
    run_axes.set(xlim=1, title="What it took, and the error of the derivative")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> dict[str, Fit]:
    """Fit both programs both ways, print a table and draw; returns the fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N, for the derivatives (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    bar, peaks = measure(default_rng(args.seed))
    cases = {"rod": (misfit, gg.value_and_grad, bar), "peaks": (residuals, gg.jacobian, peaks)}
    fits = {}
    print(f"{'':26} {'runs':>6} {'derivatives':>11} {'time':>8} {'cost':>14} {'error of derivative':>19}")
    for name, (program, transform, case) in cases.items():
        derivative = on(args.device, program, transform, case["data"])
        for automatic, way in ((True, "automatic"), (False, "finite differences")):
            f = fits[f"{name}, {way}"] = fit(program, derivative, case["start"], case["data"], automatic)
            print(f"{name + ', ' + way:26} {f.runs:6} {f.derivatives:11} {f.seconds:6.2f} s {f.cost:14.8f} {f.error:19.0e}")
    args.out.mkdir(parents=True, exist_ok=True)
    draw(bar, peaks, fits, args.out / "scipy_inverse.png")
    print(f"wrote scipy_inverse.png to {args.out}/")
    return fits


if __name__ == "__main__":
    main()
