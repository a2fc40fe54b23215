"""A progress bar."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["progress"]


def progress(iterable: Iterable[Any] | None = None, **options: Any) -> Any:
    """A progress bar around what is iterated: `tqdm.auto.tqdm`, imported when it is first used.

    Parameters
    ----------
    iterable : iterable, optional
        Without it, the bar is moved by its method ``update``.
    **options : Any
        tqdm's: ``desc``, ``total``, ``initial``, ``unit``, ``leave``, ``disable``, ... The bar has ``set_postfix(loss=...)``.

    Raises
    ------
    ImportError
        If tqdm is not installed.

    Examples
    --------
    >>> import gpugrad as gg
    >>> for epoch in (bar := gg.progress(range(3), unit="epoch", disable=True)):
    ...     bar.set_postfix(loss=0.5**epoch)
    """
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("gpugrad.progress needs the tqdm package: pip install gpugrad[train]", name="tqdm") from error
    return tqdm(iterable, **options)
