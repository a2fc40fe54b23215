"""Write api.json: what CuPy has, read from CuPy itself. Needs CuPy, but no GPU.

    python tests/cupy_standin/record.py > tests/cupy_standin/api.json

The stand-in is made from this record, so it can be no richer than CuPy: a name, a keyword or a dtype that CuPy lacks is
missing there too.
"""

from __future__ import annotations

import ctypes
import inspect
import json
import re
from typing import Any


def array_on_the_host(cupy: Any) -> Any:
    """A CuPy array around memory of the CPU: enough to ask which calls are refused before any kernel would run."""
    memory = ctypes.create_string_buffer(64)
    pointer = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(ctypes.addressof(memory), 64, memory, 0), 0)
    return cupy.ndarray((2, 3), "float64", pointer)


def signature(function: Any) -> str:
    """Parameter names and defaults, without annotations."""
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
    text = str(inspect.Signature(parameters))
    return re.sub(r"<class '(\w+)'>", r"\1", re.sub(r"<class '[\w.]*\.(\w+)'>", r"'\1'", text))


def functions(module: Any) -> dict[str, str]:
    found = {}
    for name in sorted(dir(module)):
        value = getattr(module, name)
        if not name.startswith("_") and callable(value) and not inspect.isclass(value):
            try:
                found[name] = signature(value)
            except (TypeError, ValueError):
                continue
    return found


def methods(ufunc: Any, array: Any) -> list[str]:
    """The methods of a ufunc that are more than a refusal."""
    calls = {"reduce": (array,), "accumulate": (array,), "at": (array, 0, 1.0) if ufunc.nin == 2 else (array, 0)}
    kept = []
    for name, args in calls.items():
        try:
            getattr(ufunc, name)(*args)
        except (NotImplementedError, TypeError, ValueError):
            continue
        except Exception:  # it came as far as asking for a device
            pass
        kept.append(name)
    return kept


def record() -> dict[str, Any]:
    import cupy

    array = array_on_the_host(cupy)
    ufuncs = {n: getattr(cupy, n) for n in sorted(dir(cupy)) if isinstance(getattr(cupy, n), cupy.ufunc)}
    top = {name: text for name, text in functions(cupy).items() if name not in ufuncs}
    return {
        "version": cupy.__version__,
        "functions": top,
        "ufuncs": {
            name: {"nin": f.nin, "nout": f.nout, "types": list(f.types), "methods": methods(f, array)}
            for name, f in ufuncs.items()
        },
        "linalg": functions(cupy.linalg),
        "fft": functions(cupy.fft),
        "ndarray": [name for name in dir(cupy.ndarray) if not name.startswith("_")],
        "names": [name for name in sorted(dir(cupy)) if not name.startswith("_")],
    }


if __name__ == "__main__":
    print(json.dumps(record(), indent=1))
