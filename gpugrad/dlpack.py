"""DLPack for bfloat16 on the CPU, which NumPy neither gives nor takes: its bits go as 16-bit integers under another label."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy

from . import half

__all__ = ["exported", "imported"]

_INTEGERS, _BFLOAT = 1, 4  # DLDataTypeCode
_TENSOR = {b"dltensor": 0, b"dltensor_versioned": 32}
"""Where in what a capsule points to its DLTensor begins."""
_CODE, _BITS = 20, 21
"""Where in a DLTensor the code of its dtype and the bits of an element are, a byte each."""

_name = ctypes.pythonapi.PyCapsule_GetName
_name.argtypes, _name.restype = (ctypes.py_object,), ctypes.c_char_p
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p


def _relabelled(capsule: Any, old: int, new: int) -> bool:
    """Whether a fresh capsule was of 16-bit elements of the old code; now they are of the new one."""
    name = _name(capsule)
    address = (_pointer(capsule, name) or 0) + _TENSOR[name]
    code, bits = (ctypes.c_uint8.from_address(address + at) for at in (_CODE, _BITS))
    if (code.value, bits.value) != (old, 16):
        return False
    code.value = new
    return True


def exported(array: Any, options: dict[str, Any]) -> Any:
    """A capsule for a NumPy array of bfloat16."""
    capsule = array.view(numpy.uint16).__dlpack__(**options)
    assert _relabelled(capsule, _INTEGERS, _BFLOAT)
    return capsule


class _Bits:
    """Another library's array of bfloat16 as one of 16-bit integers."""

    def __init__(self, owner: Any) -> None:
        self.owner, self.was_bfloat16 = owner, False

    def __dlpack_device__(self) -> Any:
        return self.owner.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        try:
            capsule = self.owner.__dlpack__(**options)
        except TypeError:  # written before DLPack 1.0
            capsule = self.owner.__dlpack__()
        self.was_bfloat16 = _relabelled(capsule, _BFLOAT, _INTEGERS)
        return capsule


def imported(value: Any) -> Any:
    """A NumPy array that shares the memory of another library's array on the CPU (`numpy.from_dlpack`), bfloat16 too."""
    try:
        return numpy.from_dlpack(value)
    except (RuntimeError, BufferError):
        bits = _Bits(value)
        array = numpy.from_dlpack(bits)  # raises again where that was not the reason
        return array.view(half.bfloat16()) if bits.was_bfloat16 else array
