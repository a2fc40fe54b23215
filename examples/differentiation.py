"""Numerical, symbolic and automatic differentiation side by side; forward against reverse mode.

After the lectures 'Introduction to neural networks' (three levels of computing gradients) and 'Machine learning and data
mining: neural networks' (forward and reverse mode). The picture shows the error of a derivative by the step of the differences;
the time of a gradient by the number of variables; and the time of a Jacobian by columns (forward mode) and by rows (reverse).

    python examples/differentiation.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gpugrad as gg


def seconds(call: Callable[..., Any], *args: Any) -> float:
    """The shortest of three runs."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call(*args)
        times.append(time.perf_counter() - start)
    return min(times)


def errors_by_step(device: str, point: float = 1.3) -> dict[str, Any]:
    """Relative errors of the derivative of exp(sin x) / x at a point, against 40 digits of the symbolic one."""
    import sympy

    def f(x: Any) -> Any:
        return gg.exp(gg.sin(x)) / x

    symbol = sympy.Symbol("x")
    derivative = sympy.diff(sympy.exp(sympy.sin(symbol)) / symbol, symbol)
    print(f"exp(sin(x))/x has the derivative {derivative}")
    exact = derivative.evalf(40, subs={symbol: sympy.Float(point, 40)})
    steps = 10.0 ** np.arange(-15, 0.1, 0.25)
    x, h = gg.asarray(np.float64(point), device=device), gg.asarray(steps, device=device)
    estimates = {
        "(f(x + h) - f(x)) / h": ((f(x + h) - f(x)) / h).numpy(),
        "(f(x + h) - f(x - h)) / 2h": ((f(x + h) - f(x - h)) / (2 * h)).numpy(),
        "symbolic": [sympy.lambdify(symbol, derivative, "math")(point)],
        "automatic": [gg.grad(f)(x).item()],
    }
    return {"step": steps} | {name: np.array([float(abs(e / exact - 1)) for e in es]) for name, es in estimates.items()}


def product(x: Any) -> Any:
    """sin(x1) sin(x2) ... sin(xn), Speelpenning's example: the derivatives share nearly all of their factors."""
    return gg.prod(gg.sin(x))


def numerical(x: Any, h: float = 1e-6) -> Any:
    """Gradient by n + 1 evaluations."""
    base, gradient = product(x).item(), np.empty(x.size)
    for i in range(x.size):
        moved = x.copy()
        moved[i] += h
        gradient[i] = (product(moved).item() - base) / h
    return gradient


def automatic(x: Any) -> Any:
    """Gradient by one pass forward and one back."""
    return gg.grad(product)(x).numpy()


def symbolic(n: int) -> Callable[[Any], Any]:
    """Formulas for all n derivatives, as a function."""
    import sympy

    symbols = sympy.symbols(f"x:{n}")
    f = sympy.prod([sympy.sin(symbol) for symbol in symbols])
    gradient = sympy.lambdify(symbols, [sympy.diff(f, symbol) for symbol in symbols], "math")
    return lambda x: np.array(gradient(*x))


def times_by_dimension(dimensions: list[int], most_symbols: int, device: str) -> dict[str, dict[int, float]]:
    """Seconds for a gradient of the product, by way and number of variables; the ways are checked against each other."""
    times: dict[str, dict[int, float]] = {}

    def note(name: str, n: int, call: Callable[..., Any], *args: Any) -> None:
        times.setdefault(name, {})[n] = seconds(call, *args)

    for n in dimensions:
        x = gg.asarray(np.random.default_rng(n).uniform(1, 2, n), device=device)
        gradient = automatic(x)
        np.testing.assert_allclose(numerical(x), gradient, atol=1e-4 * np.abs(gradient).max())
        note("the function itself", n, product, x)
        note("numerical", n, numerical, x)
        note("automatic", n, automatic, x)
        if n <= most_symbols:
            formulas, point = symbolic(n), x.numpy()
            np.testing.assert_allclose(formulas(point), gradient, rtol=1e-10)
            note("symbolic, deriving", n, symbolic, n)
            note("symbolic, evaluating", n, formulas, point)
    return times


def by_columns(f: Callable[[Any], Any], x: Any) -> Any:
    """Jacobian in forward mode: one pass per input."""
    return np.stack([gg.jvp(f, (x,), (gg.asarray(unit, device=x.device),))[1].numpy() for unit in np.eye(x.size)], axis=1)


def by_rows(f: Callable[[Any], Any], x: Any) -> Any:
    """Jacobian in reverse mode: one pass forward, and one back per output."""
    value, pull = gg.vjp(f, x)
    return np.stack([pull(gg.asarray(unit, device=x.device))[0].numpy() for unit in np.eye(value.size)])


WAYS: dict[str, Callable[..., Any]] = {
    "forward mode, by columns": by_columns,
    "reverse mode, by rows": by_rows,
    "gg.jacobian, which chooses": lambda f, x: gg.jacobian(f)(x).numpy(),
}


def times_by_shape(shapes: list[tuple[int, int]], device: str) -> dict[str, list[float]]:
    """Seconds for the Jacobian of tanh(B tanh(A x)), with n inputs, 64 units inside and m outputs."""
    times: dict[str, list[float]] = {}
    rng = np.random.default_rng(0)
    for n, m in shapes:
        a, b = (gg.asarray(rng.standard_normal(shape) / 8, device=device) for shape in ((64, n), (m, 64)))
        x = gg.asarray(rng.standard_normal(n), device=device)

        def f(x: Any, a: Any = a, b: Any = b) -> Any:
            return gg.tanh(b @ gg.tanh(a @ x))

        jacobian = by_rows(f, x)
        for name, way in WAYS.items():
            np.testing.assert_allclose(way(f, x), jacobian, rtol=1e-9, atol=1e-12)
            times.setdefault(name, []).append(seconds(way, f, x))
    return times


def draw(errors: dict[str, Any], gradients: dict[str, dict[int, float]], shapes: Any, jacobians: Any, path: Path) -> None:
    """The three measurements side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(17, 5.2), layout="constrained")
    for (name, error), style in zip(list(errors.items())[1:], ("C0.-", "C1.-", "C2--", "C3:")):
        error = np.maximum(error, 1e-17)
        if len(error) > 1:
            left.loglog(errors["step"], error, style, label=name)
        else:
            left.axhline(error[0], color=style[:2], linestyle=style[2:], linewidth=2, label=name)
    left.set(xlabel="step h", ylabel="relative error (0 drawn as 1e-17)", title="Error of a derivative", ylim=(4e-18, 1e3))
    for (name, times), marker in zip(gradients.items(), "os^vD"):
        middle.loglog(list(times), np.array(list(times.values())) * 1e3, marker=marker, label=name)
    middle.set(
        xlabel="variables", ylabel="milliseconds", title="Time of a gradient: sin(x1) sin(x2) ... sin(xn)", ylim=(5e-4, 5e4)
    )
    for (name, times), style in zip(jacobians.items(), ("o-", "s-", "k*:")):
        right.semilogy(range(len(shapes)), np.array(times) * 1e3, style, label=name)
    right.set_xticks(range(len(shapes)), [f"{n} to {m}" for n, m in shapes], rotation=30)
    right.set(xlabel="inputs to outputs", ylabel="milliseconds", title="Time of a Jacobian: wide to tall")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: list[str] | None = None) -> tuple[dict[str, Any], dict[str, dict[int, float]], dict[str, list[float]]]:
    """Measure, print and draw; returns errors by step, times by dimension and times by shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--variables", type=int, default=1024, help="most variables of the gradient (%(default)s)")
    parser.add_argument("--symbols", type=int, default=64, help="most variables of the symbolic gradient (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (%(default)s)")
    args = parser.parse_args(argv)
    errors = errors_by_step(args.device)
    for name in list(errors)[1:]:
        print(f"smallest relative error {errors[name].min():.1e}  {name}")
    gradients = times_by_dimension([4**k for k in range(1, 12) if 4**k <= args.variables], args.symbols, args.device)
    for name, times in gradients.items():
        print(f"{name:22}" + "".join(f"  n = {n}: {t * 1e3:.3f} ms" for n, t in times.items()))
    shapes = [(256 // 4**k, 4**k) for k in range(5)]
    jacobians = times_by_shape(shapes, args.device)
    for name, row in jacobians.items():
        print(f"{name:28}" + "".join(f"  {n} to {m}: {t * 1e3:.3f} ms" for (n, m), t in zip(shapes, row)))
    args.out.mkdir(parents=True, exist_ok=True)
    draw(errors, gradients, shapes, jacobians, args.out / "differentiation.png")
    print(f"wrote differentiation.png to {args.out}/")
    return errors, gradients, jacobians


if __name__ == "__main__":
    main()
