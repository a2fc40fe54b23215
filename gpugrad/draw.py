"""Pictures of the computational graph, as the lectures on backpropagation draw it: `draw`, and what notebooks show.

What makes them is in `gpugrad.drawing`, loaded when the first picture is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import GradientError, user_frame
from .tensor import Tensor

if TYPE_CHECKING:
    from .drawing.picture import Drawing

__all__ = ["draw"]


def draw(
    target: Tensor | Callable[..., Any],
    *args: Any,
    local: bool = False,
    limit: int = 60,
    names: Mapping[str, Any] | None = None,
) -> Drawing:
    """Draw the computational graph of a tensor, or of a function at some point.

    ``draw(f, *args)`` runs f and its backward once, and shows every value (green, above the wire) and every gradient (red,
    below it). ``draw(t)`` shows what the tape of `t` still knows: all gates and shapes, the values that it saved for the
    backward, and the gradients of leaves, once there was one. Neither changes any ``.grad``.

    Parameters
    ----------
    target : Tensor or callable
        A computed tensor; or a function of arrays or Tensors that returns one, or a nested tuple, list or dict of them. A
        Module is such a function.
    *args : floats, arrays, Tensors
        Where to run the function. Floating ones become leaves, called as its parameters are.
    local : bool
        Also show each gate's local gradients (blue, before it), for gates of numbers and for elementwise ones. Needs a function.
    limit : int
        How many gates are drawn one by one. Where there are more, parameters go into their gates, and gates are folded: by
        module, by repetition, at last all but the newest.
    names : mapping of str to Tensor, array or Module, optional
        What things are called, where that is not what the variables of the caller are called.

    Returns
    -------
    Drawing
        With ``.svg``, ``.dot``, ``.text`` and ``.save(path)``. The gradient is that of the result, or of its elements' sum.

    Raises
    ------
    GradientError
        If no gradient flows to what is drawn.

    Examples
    --------
    >>> import gpugrad as gg
    >>> print(gg.draw(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0))
                   value   gradient
    x   leaf       -2.00   -4.00
    y   leaf       5.00    -4.00
    z   leaf       -4.00   3.00
    %3  + (x, y)   3.00    -4.00
    %4  * (%3, z)  -12.00  1.00
    """
    from .drawing.graph import Names
    from .drawing.trace import draw_function, draw_tensor

    known_names = Names()
    known_names.collect(names or {})
    frame = user_frame(2)
    surroundings = (frame.f_locals, frame.f_globals)
    if isinstance(target, Tensor):
        if args or local:
            raise GradientError("draw: args and local=True go with a function: gg.draw(f, *args, local=True)")
        return draw_tensor(target, known_names, surroundings, limit)
    return draw_function(target, args, known_names, surroundings, local, limit)


def _repr_svg_(self: Tensor) -> str | None:
    """The graph of a computed tensor, for notebooks; others are shown as text."""
    if self._node is None or self._node.op is None:
        return None
    from .drawing.graph import Names
    from .drawing.trace import draw_tensor

    main = sys.modules.get("__main__")
    return draw_tensor(self, Names(), [vars(main)] if main is not None else [], 60).svg


Tensor._repr_svg_ = _repr_svg_  # type: ignore[attr-defined]
