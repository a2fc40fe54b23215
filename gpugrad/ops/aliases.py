"""The array API's names of functions that NumPy first called otherwise."""

from __future__ import annotations

from .comparison import invert as bitwise_invert
from .complex_numbers import conjugate as conj
from .elementwise import arccos as acos
from .elementwise import arccosh as acosh
from .elementwise import arcsin as asin
from .elementwise import arcsinh as asinh
from .elementwise import arctan as atan
from .elementwise import arctan2 as atan2
from .elementwise import arctanh as atanh
from .elementwise import power as pow  # noqa: A004
from .shape import concatenate as concat
from .shape import transpose as permute_dims

__all__ = ["acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "bitwise_invert", "concat", "conj", "permute_dims", "pow"]
