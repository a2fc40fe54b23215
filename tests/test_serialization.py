"""Checkpoints: what is saved comes back bit for bit, half a file is never seen, and a bad one is refused by name."""

from __future__ import annotations

import json
import os
import pickle
import re
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpugrad.errors import CheckpointError
from gpugrad.serialization import atomic_write, load, load_metadata, save
from gpugrad.tensor import Tensor, asarray

pytest.importorskip("safetensors")

DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64"]


def file_bytes(header: dict[str, Any], data: bytes) -> bytes:
    """A safetensors file put together by hand."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@st.composite
def array_views(draw: st.DrawFn) -> np.ndarray:
    """Arrays of every dtype, rank 0 to 3, empty or not, in either byte order, transposed, strided or reversed."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES))).newbyteorder(draw(st.sampled_from("<>")))
    array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    view: Callable[[np.ndarray], np.ndarray] = draw(
        st.sampled_from([lambda a: a, lambda a: a.T, lambda a: a[..., ::-1] if a.ndim else a, lambda a: a[::2] if a.ndim else a])
    )
    return view(array)


NAMES = st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name != "__metadata__")  # the format's own


@given(tensors=st.dictionaries(NAMES, array_views(), max_size=3))
def test_save_and_load_are_inverse(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path_factory.mktemp("save") / "x.safetensors"
    save(tensors, path)
    loaded = load(path)
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        result = loaded[name]
        assert isinstance(result, Tensor)
        assert not result.requires_grad
        assert result.shape == array.shape
        assert result.dtype == array.dtype.newbyteorder("=")
        assert result.numpy().tobytes() == array.astype(result.dtype).tobytes()  # bytes, so that NaN and -0.0 count


def test_tensors_are_saved_as_their_arrays_are(tmp_path: Path) -> None:
    array = np.arange(6, dtype="float32").reshape(2, 3)
    save({"tensor": asarray(array.T), "scalar": np.float64(2.5), "0-d": asarray(np.array(7))}, tmp_path / "x")  # type: ignore[dict-item]
    loaded = load(tmp_path / "x")
    np.testing.assert_array_equal(loaded["tensor"].numpy(), array.T)
    assert loaded["scalar"].item() == 2.5
    assert loaded["0-d"].shape == ()
    assert loaded["0-d"].item() == 7


def test_saved_file_is_what_the_format_says(tmp_path: Path) -> None:
    save({"w": np.array([[1, 2], [3, 4]], ">i2").T}, tmp_path / "x", metadata={"a": "é"})
    content = (tmp_path / "x").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert header == {"__metadata__": {"a": "é"}, "w": {"dtype": "I16", "shape": [2, 2], "data_offsets": [0, 8]}}
    assert content[8 + length :] == struct.pack("<hhhh", 1, 3, 2, 4)


def test_loaded_tensors_are_writable_and_independent_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save({"w": np.ones(3)}, path)
    first = load(path)["w"]
    first.data[...] = 5
    np.testing.assert_array_equal(load(path)["w"].numpy(), 1)
    with open(path, "r+b") as file:
        file.truncate(0)
    np.testing.assert_array_equal(first.numpy(), 5)


def test_metadata(tmp_path: Path) -> None:
    save({}, tmp_path / "with", metadata={"epoch": "3", "ünï": "\n"})
    assert load_metadata(tmp_path / "with") == {"epoch": "3", "ünï": "\n"}
    assert load(tmp_path / "with") == {}
    save({"w": np.zeros(1)}, tmp_path / "without")
    assert load_metadata(tmp_path / "without") == {}


STATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAMES | hnp.arrays("float32", (2,)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.from_regex("[a-z]{1,3}", fullmatch=True) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


def plain(state: Any) -> Any:
    """A state with arrays as bytes, so that it can be compared."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(map(plain, state))
    return np.asarray(state.numpy() if isinstance(state, Tensor) else state).tobytes() if hasattr(state, "dtype") else state


@given(state=st.dictionaries(st.from_regex("[a-z]{1,3}", fullmatch=True), STATES, max_size=3))
def test_nested_states_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("save") / "x.safetensors"
    save(state, path, metadata={"note": "mine"})
    assert plain(load(path)) == plain(state)
    assert load_metadata(path) == {"note": "mine"}


def test_other_readers_find_nested_tensors_by_dotted_names(tmp_path: Path) -> None:
    import safetensors.numpy

    save({"model": {"0.weight": np.ones(2)}, "steps": [np.zeros(1), 3], "lr": float("inf")}, tmp_path / "x")
    assert set(safetensors.numpy.load_file(tmp_path / "x")) == {"model.0.weight", "steps.0"}
    assert load(tmp_path / "x")["lr"] == float("inf")


@pytest.mark.parametrize("structure", ["{", '{"set": []}', '{"tensor": "missing"}', '{"dict": 3}', "[" * 100_000])
def test_a_damaged_structure_is_refused(tmp_path: Path, structure: str) -> None:
    header = {"__metadata__": {"gpugrad.structure": structure}, "w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    (tmp_path / "x").write_bytes(file_bytes(header, b"1"))
    with pytest.raises(CheckpointError, match=r"x: the entry 'gpugrad.structure' of its metadata is damaged"):
        load(tmp_path / "x")


# --- what is refused


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("z", np.zeros(2, complex), "'z' has dtype complex128, expected one of bool, int8"),
        ("o", np.array([{}, None]), "'o' has dtype object, expected one of"),
        ("s", np.array(["text"]), "'s' has dtype <U4, expected one of"),
        ("t", np.zeros(1, "datetime64[s]"), "'t' has dtype datetime64[s], expected one of"),
        ("f", [1.0, abs], "'f.1' is of type builtin_function_or_method, expected a Tensor, an array, a number"),
        ("d", {"a": {2.5: 1}}, "'d.a' is of type dict, expected"),
        ("g", {"a.b": np.zeros(1), "a": {"b": np.zeros(1)}}, "two tensors would be named 'g.a.b'"),
        ("i", {1: np.zeros(1), "1": np.zeros(1)}, "two tensors would be named 'i.1'"),
        ("m", np.ma.masked_array([1.0], [True]), "'m' is of type MaskedArray"),
        (3, np.zeros(1), "name 3 is of type int, expected str"),
        ("__metadata__", np.zeros(1), "'__metadata__' is taken by the format"),
    ],
)
def test_save_refuses_by_name_and_writes_nothing(tmp_path: Path, name: Any, value: Any, words: str) -> None:
    save({"old": np.arange(2)}, tmp_path / "x")
    with pytest.raises(CheckpointError, match=re.escape(words)):
        save({"good": np.zeros(2), name: value}, tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"]
    assert list(load(tmp_path / "x")) == ["old"]


def test_the_structures_own_metadata_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'gpugrad\.structure' is taken"):
        save({}, tmp_path / "x", metadata={"gpugrad.structure": "{}"})


@pytest.mark.parametrize("metadata", [{"epoch": 3}, {3: "epoch"}])
def test_save_refuses_metadata_that_is_not_text(tmp_path: Path, metadata: Any) -> None:
    with pytest.raises(CheckpointError, match=r"metadata entry .* (str: int|int: str), expected str: str; use json"):
        save({}, tmp_path / "x", metadata=metadata)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("read", [load, load_metadata])
def test_checkpoint_truncated_at_any_byte_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "x.safetensors"
    save({"w": np.arange(3, dtype="float32"), "b": np.array(1, "int8")}, path, metadata={"epoch": "1"})
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match=r"x\.safetensors: truncated, damaged, or not a safetensors file: \w+"):
            read(path)
    path.write_bytes(content)
    assert read(path)


class Bomb:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (os.environ["GPUGRAD_TEST_BOMB"], "w"))


@pytest.mark.parametrize("read", [load, load_metadata])
def test_other_files_are_refused_and_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    monkeypatch.setenv("GPUGRAD_TEST_BOMB", str(tmp_path / "exploded"))
    pickled = pickle.dumps(Bomb())
    pickle.loads(pickled).close()
    assert (tmp_path / "exploded").exists()  # the bomb works
    (tmp_path / "exploded").unlink()
    good = file_bytes({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))
    overlap = {k: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in "ab"}
    for content in (
        pickled,
        b"PK\x03\x04" + bytes(100),
        b"\xff" * 64,
        bytes(64),
        good + b"trailing",
        good.replace(b"F32", b"F99"),
        good.replace(b"[1]", b"[2]"),
        good.replace(b"[0, 4]", b"[0,99]"),
        good.replace(b'"w"', b"'w'"),
        struct.pack("<Q", 2**63) + good[8:],
        file_bytes(overlap, bytes(4)),
        file_bytes({"w": {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 4]}}, bytes(4)),
    ):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(CheckpointError, match="bad: truncated, damaged, or not a safetensors file"):
            read(tmp_path / "bad")
    assert not (tmp_path / "exploded").exists()
    (tmp_path / "bad").write_bytes(good)
    read(tmp_path / "bad")  # what the damaged ones were made from is well


@pytest.mark.parametrize(("code", "size"), [("F8_E5M2", 1), ("F8_E4M3", 1), ("C64", 8)])
def test_dtypes_that_numpy_lacks_are_refused_by_name(tmp_path: Path, code: str, size: int) -> None:
    header = {"w": {"dtype": code, "shape": [1], "data_offsets": [0, size]}}
    (tmp_path / "x").write_bytes(file_bytes(header, bytes(size)))
    with pytest.raises(CheckpointError, match=rf"x: tensor 'w' has dtype {code}, expected one of BOOL, .*F64; convert"):
        load(tmp_path / "x")
    assert load_metadata(tmp_path / "x") == {}


@pytest.mark.parametrize("read", [load, load_metadata])
def test_missing_file_and_folder_are_os_errors_with_the_name(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        read(tmp_path)


# --- atomicity


@pytest.fixture
def checkpoint(tmp_path: Path) -> Iterator[Path]:
    """An old checkpoint, which is still there, alone and whole, when the test is over."""
    path = tmp_path / "x.safetensors"
    save({"w": np.arange(4)}, path)
    content = path.read_bytes()
    yield path
    assert os.listdir(tmp_path) == ["x.safetensors"]
    assert path.read_bytes() == content


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt("Input/output error")])
def test_failure_while_saving_keeps_the_old_file(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException
) -> None:
    seen = []

    def fail(*arguments: object) -> None:
        seen.append(os.listdir(checkpoint.parent))
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error), match="Input/output error"):
        save({"w": np.zeros(100)}, checkpoint)
    assert len(seen[0]) == 2  # the new file was there, beside the old one


def test_failure_of_the_write_keeps_the_old_file(checkpoint: Path) -> None:
    def write_half() -> None:
        with atomic_write(checkpoint) as file:
            file.write(b"half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_half()


@pytest.mark.skipif(os.name != "posix", reason="the resource module and its limits are POSIX")
def test_failure_of_the_kernel_to_write_keeps_the_old_file(checkpoint: Path) -> None:
    """A real failed write: the file-size limit, in a process of its own."""
    program = (
        "import resource, signal, sys, numpy\n"
        "from gpugrad.serialization import save\n"
        "save({}, sys.argv[1] + '.warm')\n"
        "__import__('os').unlink(sys.argv[1] + '.warm')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    save({'w': numpy.zeros(10000)}, sys.argv[1])\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    root = Path(__file__).parents[1]
    command = [sys.executable, "-B", "-c", program, str(checkpoint)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "File too large"


def test_everything_is_synced_in_the_right_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        mode = os.fstat(descriptor)
        events.append("folder" if stat.S_ISDIR(mode.st_mode) else f"file of {mode.st_size} bytes")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        assert source.parent == target.parent == tmp_path
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    save({"w": np.arange(3)}, tmp_path / "x")  # small, so that nothing is written before the flush
    assert events == [f"file of {(tmp_path / 'x').stat().st_size} bytes", "replace", "folder"]


@pytest.mark.parametrize(("number", "raises"), [(22, False), (95, False), (5, True)])
def test_folder_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raises: bool) -> None:
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, "cannot sync")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    if raises:
        with pytest.raises(OSError, match="cannot sync"):
            save({"w": np.arange(3)}, tmp_path / "x")
    else:
        save({"w": np.arange(3)}, tmp_path / "x")
    assert list(load(tmp_path / "x")) == ["w"]


@pytest.mark.skipif(os.name == "nt", reason="no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_mode_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save({"w": np.zeros(1)}, tmp_path / "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_symbolic_link_is_followed_and_kept(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    link = tmp_path / "latest"
    link.symlink_to(tmp_path / "runs" / "x")
    for value in (1, 2):  # first the target is not there yet
        save({"w": np.array(value)}, link)
        assert link.is_symlink()
        assert load(tmp_path / "runs" / "x")["w"].item() == value
    assert sorted(os.listdir(tmp_path)) == ["latest", "runs"]


def test_longest_name_and_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save({"w": np.array(1)}, "n" * 255)
    assert os.listdir(tmp_path) == ["n" * 255]


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write x: make its folder first.*absent"):
        save({}, tmp_path / "absent" / "x")
    assert not os.listdir(tmp_path)


# --- without the library


@pytest.mark.parametrize("call", [lambda path: save({}, path), load, load_metadata])
def test_missing_safetensors_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[Path], object]
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install gpugrad\[train\]"):
        call(tmp_path / "x")
    assert not os.listdir(tmp_path)


def test_import_leaves_safetensors_alone() -> None:
    program = "import sys, gpugrad.serialization; print('safetensors' in sys.modules)"
    root = Path(__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)
    assert result.stdout.strip() == "False"
