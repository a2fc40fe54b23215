"""Devices, streams, events and memory of the stand-in."""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy


class CUDARuntimeError(RuntimeError):
    """What CuPy raises where a call of the CUDA runtime fails."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")


class OutOfMemoryError(MemoryError):
    """What CuPy's pool raises; its text is CuPy's."""

    def __init__(self, size: int, total: int, limit: int = 0) -> None:
        text = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(text + (f", limit set to: {limit:,} bytes)." if limit else ")."))


class _Current(threading.local):
    device = 0
    streams: Any = None


current = _Current()
devices = 1
available = True
pools: dict[int, MemoryPool] = {}
memory = 1 << 33
driver = 13000
synchronizations = 0
"""How often the host waited for a device: implicit waits (`.get()`, `.item()`, `bool()`) count too."""
launches: list[str] = []
"""The kernels that were launched by `RawModule`, in order."""


def reset(count: int, is_available_: bool, bytes_each: int, driver_: int) -> None:
    global devices, available, pools, memory, synchronizations, driver
    devices, available, memory, synchronizations = count, is_available_, bytes_each, 0
    driver = driver_ if is_available_ or driver_ < 13000 else 0
    pools = {i: MemoryPool() for i in range(count)}
    current.device, current.streams = 0, None
    nvtx.ranges.clear()
    launches.clear()


def check_driver() -> None:
    if not available:
        raise CUDARuntimeError("cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version")


def wait() -> None:
    global synchronizations
    check_driver()
    synchronizations += 1


# --- runtime ------------------------------------------------------------------------------------------------------


class runtime:
    """`cupy.cuda.runtime`."""

    CUDARuntimeError = CUDARuntimeError

    @staticmethod
    def getDeviceCount() -> int:
        check_driver()
        if devices == 0:
            raise CUDARuntimeError("cudaErrorNoDevice", "no CUDA-capable device is detected")
        return devices

    @staticmethod
    def getDevice() -> int:
        check_driver()
        return current.device

    @staticmethod
    def setDevice(number: int) -> None:
        check_driver()
        if not 0 <= number < devices:
            raise CUDARuntimeError("cudaErrorInvalidDevice", "invalid device ordinal")
        current.device = number

    @staticmethod
    def deviceSynchronize() -> None:
        wait()

    @staticmethod
    def driverGetVersion() -> int:
        return driver

    @staticmethod
    def runtimeGetVersion() -> int:
        return 13000

    @staticmethod
    def memGetInfo() -> tuple[int, int]:
        check_driver()
        return memory - pools[current.device].total_bytes(), memory

    @staticmethod
    def getDeviceProperties(number: int) -> dict[str, Any]:
        check_driver()
        return {"name": b"Stand-in", "totalGlobalMem": memory, "major": 9, "minor": 0, "multiProcessorCount": 1}


def is_available() -> bool:
    return available and devices > 0


def get_device_id() -> int:
    return runtime.getDevice()


class Device:
    """`cupy.cuda.Device`: a number, and a context manager that makes it current."""

    def __init__(self, device: Any = None) -> None:
        self.id = current.device if device is None else int(device)
        self._outer: list[int] = []

    def __enter__(self) -> Device:
        self._outer.append(runtime.getDevice())
        runtime.setDevice(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        runtime.setDevice(self._outer.pop())

    def use(self) -> None:
        runtime.setDevice(self.id)

    def synchronize(self) -> None:
        wait()

    @property
    def compute_capability(self) -> str:
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        with self:
            return runtime.memGetInfo()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __int__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


# --- streams: everything runs at once and in order ----------------------------------------------------------------


class Stream:
    """`cupy.cuda.Stream`."""

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None) -> None:
        check_driver()
        self.ptr, self.device_id = (0 if null else id(self)), current.device
        self._outer: list[Any] = []

    def __enter__(self) -> Stream:
        self._outer.append(current.streams)
        current.streams = self
        return self

    def __exit__(self, *_: object) -> None:
        current.streams = self._outer.pop()

    def use(self) -> Stream:
        current.streams = self
        return self

    def synchronize(self) -> None:
        wait()

    @property
    def done(self) -> bool:
        return True

    def record(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        if event.time is None:
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle", "the event was never recorded")


class Event:
    """`cupy.cuda.Event`."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        check_driver()
        self.time: float | None = None
        self.device_id = current.device

    def record(self, stream: Stream | None = None) -> None:
        stream = get_current_stream() if stream is None else stream
        if self.device_id != (stream.device_id if stream.ptr else current.device):
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle", "invalid resource handle: the stream is another device's")
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        wait()

    @property
    def done(self) -> bool:
        return True


class nvtx:
    """`cupy.cuda.nvtx`: what a timeline would show."""

    ranges: ClassVar[list[str]] = []

    @classmethod
    def RangePush(cls, message: str, id_color: int = -1) -> None:
        cls.ranges.append(message)

    @classmethod
    def RangePop(cls) -> None:
        cls.ranges.append("pop")


def get_elapsed_time(start: Event, end: Event) -> float:
    assert start.time is not None
    assert end.time is not None
    if start.device_id != end.device_id:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle", "invalid resource handle: events of two devices")
    return (end.time - start.time) * 1000


def get_current_stream(device_id: int = -1) -> Stream:
    found = current.streams
    return found if found is not None and found.device_id == current.device else Stream(null=True)


# --- memory -------------------------------------------------------------------------------------------------------


class MemoryPool:
    """`cupy.cuda.MemoryPool`: figures, and a limit. Blocks that are freed stay with the pool, as CuPy's do."""

    def __init__(self, allocator: Any = None) -> None:
        self._used = self._free = self._limit = 0

    def used_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return self._free

    def total_bytes(self) -> int:
        return self._used + self._free

    def n_free_blocks(self) -> int:
        return int(self._free > 0)

    def free_all_blocks(self, stream: Any = None) -> None:
        self._free = 0

    def get_limit(self) -> int:
        return self._limit

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit = int(size or 0) if fraction is None else int(fraction * memory)

    def take(self, size: int) -> None:
        size = -(-size // 512) * 512
        if self._free >= size:
            self._free -= size
        elif self._used + size > (self._limit or memory):
            raise OutOfMemoryError(size, self.total_bytes(), self._limit)
        else:
            self._free = min(self._free, (self._limit or memory) - self._used - size)
        self._used += size

    def give(self, size: int) -> None:
        size = -(-size // 512) * 512
        self._used -= size
        self._free += size


class Block:
    """Memory of an array on a device, given back when the last view of it goes."""

    def __init__(self, size: int) -> None:
        check_driver()
        self.size, self.device, self.pool = 0, Device(current.device), pools[current.device]
        self.pool.take(size)
        self.size = size

    def __del__(self) -> None:
        if self.size:
            self.pool.give(self.size)


class MemoryPointer:
    """What an array's `data` is."""

    def __init__(self, mem: Any, offset: int, ptr: int) -> None:
        self.mem, self.ptr, self.device, self.device_id = mem, ptr, mem.device, mem.device.id


class PinnedMemory:
    """Page-locked memory of the host: a buffer."""

    def __init__(self, size: int) -> None:
        check_driver()
        self._bytes = numpy.empty(size, numpy.uint8)

    def __buffer__(self, flags: int) -> memoryview:  # Python 3.12 and later
        return memoryview(self._bytes)


pinned: dict[int, weakref.ref[Any]] = {}
"""Page-locked memory by its address, which a kernel can be given."""


def alloc_pinned_memory(size: int) -> Any:
    """A buffer, as NumPy takes it in `numpy.frombuffer`."""
    memory = PinnedMemory(size)._bytes
    pinned[memory.ctypes.data] = weakref.ref(memory)
    return memoryview(memory)


@contextmanager
def using_allocator(allocator: Any = None) -> Any:
    yield


def get_default_memory_pool() -> MemoryPool:
    return pools[current.device]


class PinnedMemoryPool:
    """`cupy.cuda.PinnedMemoryPool`."""

    def free_all_blocks(self) -> None:
        pass

    def n_free_blocks(self) -> int:
        return 0
