"""NumPy's Philox stream in array arithmetic, so that a GPU draws the numbers that the CPU would, bit for bit.

Philox 4x64 is a block cipher of a counter (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): any part of
the stream can be computed by itself, all blocks side by side. NumPy's bit generator stays the owner of the state: what is
drawn here continues where it is, and moves it on by as much as its own draws would.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy

from ..cuda import kernel_blocks

__all__ = ["blocks_of", "state_of", "uniform", "uniform_from"]

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10
_LOW = 0xFFFFFFFF
_ALL = 0xFFFFFFFFFFFFFFFF


def uniform(xp: ModuleType, bits: numpy.random.Philox, shape: Any, dtype: Any) -> Any:
    """The numbers in [0, 1) that `numpy.random.Generator.random` would draw: float32 of 24 bits, or float64 of 53.

    Parameters
    ----------
    xp : module
        NumPy or CuPy; the array is made on its current device.
    bits : numpy.random.Philox
        Whose stream it is; moved on.
    shape : int or tuple of int
    dtype : dtype
        float32 or float64.
    """
    shape = (shape,) if isinstance(shape, int | numpy.integer) else tuple(shape)
    count = math.prod(shape)
    words = _words(xp, bits, count) if dtype == numpy.float64 else _halves(xp, bits, count)
    return _numbers(words, count, dtype).reshape(shape)


def state_of(bits: numpy.random.Philox) -> Any:
    """The state of a generator between two blocks as six words, counter and key: what the blocks that follow depend on."""
    state = bits.state["state"]
    return numpy.concatenate([state["counter"], state["key"]])


def blocks_of(count: int, dtype: Any) -> int:
    """How many blocks so many numbers of float32 or float64 take."""
    return -(-count // (4 if dtype == numpy.float64 else 8))


def uniform_from(xp: ModuleType, state: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`uniform` of the generator that has a `state_of` given in host memory, and stays where it is."""
    words = [int(word) for word in state]
    counter, count = sum(word << 64 * i for i, word in enumerate(words[:4])), math.prod(shape)
    made = _blocks(xp, counter + 1, blocks_of(count, dtype), words[4:]).reshape(-1)
    return _numbers(made if dtype == numpy.float64 else made.view(numpy.uint32), count, dtype).reshape(shape)


def _numbers(bits: Any, count: int, dtype: Any) -> Any:
    """Numbers in [0, 1) of words of 64 bits, or of halves."""
    if dtype == numpy.float64:
        return (bits[:count] >> 11).astype(dtype) * 2.0**-53
    return (bits[:count] >> 8).astype(dtype) * numpy.float32(2.0**-24)


def _halves(xp: ModuleType, bits: numpy.random.Philox, count: int) -> Any:
    """The next numbers of 32 bits: words are used low half first, and the state keeps a half that is left."""
    state = bits.state
    kept = bool(state["has_uint32"]) and count > 0
    words = _words(xp, bits, (count - kept + 1) // 2)
    halves = words.view(numpy.uint32)
    if kept:
        halves = xp.concatenate([xp.asarray(numpy.array([state["uinteger"]], numpy.uint32)), halves])
    state = bits.state
    if words.size:  # the last word, read from the state: the array may be on a GPU, which need not be waited for
        state["uinteger"] = int(state["buffer"][state["buffer_pos"] - 1]) >> 32
    if count:
        state["has_uint32"] = (count - kept) % 2
    bits.state = state
    return halves[:count]


def _words(xp: ModuleType, bits: numpy.random.Philox, count: int) -> Any:
    """The next numbers of 64 bits: what is left of the last block, then blocks of the counters that follow."""
    state = bits.state
    at = int(state["buffer_pos"])
    left = state["buffer"][at : at + count]
    blocks = -(-(count - left.size) // 4)
    words = xp.asarray(numpy.ascontiguousarray(left))
    if blocks:
        counter = sum(int(word) << 64 * i for i, word in enumerate(state["state"]["counter"]))
        made = _blocks(xp, counter + 1, blocks, [int(word) for word in state["state"]["key"]])
        words = xp.concatenate([words, made.reshape(-1)[: count - left.size]])
    _advance(bits, count)
    return words


def _advance(bits: numpy.random.Philox, count: int) -> None:
    """Move the state on by `count` words, as drawing them would: all but the last block is skipped."""
    state = bits.state
    used = 4 - int(state["buffer_pos"])
    if count > used:
        skipped = (count - used - 1) // 4
        counter = sum(int(word) << 64 * i for i, word in enumerate(state["state"]["counter"])) + skipped
        state["state"]["counter"] = numpy.array([counter >> 64 * i & _ALL for i in range(4)], numpy.uint64)
        state["buffer_pos"] = 4
        bits.state = state
        count -= used + 4 * skipped
    bits.random_raw(count)


def _blocks(xp: ModuleType, first: int, count: int, key: list[int]) -> Any:
    """The cipher of `count` counters from `first` on: an array of shape (count, 4). By a kernel where there is one."""
    if xp is not numpy and (made := kernel_blocks(xp, first - 1, key, count)) is not NotImplemented:
        return made
    number = xp.arange(count).astype(numpy.uint64)
    words = []
    carry = number
    for i in range(4):  # the counter has 256 bits
        word = carry + numpy.uint64(first >> 64 * i & _ALL)
        carry = (word < carry).astype(numpy.uint64)
        words.append(word)
    for _ in range(_ROUNDS):
        high0, low0 = _product(words[0], _MULTIPLIERS[0])
        high1, low1 = _product(words[2], _MULTIPLIERS[1])
        words = [high1 ^ words[1] ^ numpy.uint64(key[0]), low1, high0 ^ words[3] ^ numpy.uint64(key[1]), low0]
        key = [(word + bump) & _ALL for word, bump in zip(key, _WEYL, strict=True)]
    return xp.stack(words, axis=1)


def _product(x: Any, factor: int) -> tuple[Any, Any]:
    """The high and the low word of a product of 128 bits, by halves of 32."""
    low, high = numpy.uint64(factor & _LOW), numpy.uint64(factor >> 32)
    mask, half = numpy.uint64(_LOW), numpy.uint64(32)
    x_low, x_high = x & mask, x >> half
    middle = x_low * high + ((x_low * low) >> half)
    top = x_high * high + (middle >> half) + (((middle & mask) + x_high * low) >> half)
    return top, x * numpy.uint64(factor)
