"""Arrays of any kind, large and small, come back from a folder exactly as they went in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from gimle.asgard.core.errors import DocumentError
from gimle.asgard.core.folder import Folder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.contract.storage_writers import a_result, a_run, references_of

SIZES = [(), (0,), (3, 0), (5,), (1024,), (1025,), (40, 50), (2, 3, 400)]
DTYPES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "longdouble", "complex64", "complex128", "clongdouble"),
    *(">f8", ">i2", ">c8", "datetime64[ns]", "datetime64[D]", "timedelta64[s]", "<U7", ">U2"),
    *("S3", "V5"),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4, ml_dtypes.uint4),
    [("a", "<f4"), ("b", ">i8", (2,)), ("é", [("x", "?"), ("y", "<U3")])],
]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path, durability="relaxed")


def stored(folder: Folder, data: dict[str, Any], kind: str = "Solution1D") -> str:
    run = a_run()
    _, (result,) = folder.create_run(run, [a_result(run.id, data, kind)])
    return result.id


def there_and_back(folder: Folder, data: dict[str, Any], kind: str = "Solution1D") -> Any:
    return folder.read_result(stored(folder, data, kind)).data


def assert_same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> None:
    assert isinstance(b, np.ndarray)
    assert (b.dtype, b.shape) == (a.dtype, a.shape)
    assert b.tobytes() == a.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back_in_every_size(folder: Folder, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    kind = np.dtype(dtype)
    arrays = {}
    for number, shape in enumerate(SIZES):
        if kind.kind == "V" and kind.names is None and kind.num >= 256:
            array = rng.integers(0, 3, shape).astype(kind)
        elif kind.kind in "US":
            array = rng.integers(0, 99, shape).astype(kind)
        elif kind.kind == "b":
            array = rng.integers(0, 2, shape).astype(kind)
        elif kind == np.dtype("longdouble") or kind == np.dtype("clongdouble"):
            array = np.asarray(rng.random(shape)).astype(kind) / 3
        elif kind.names is not None:
            array = np.zeros(shape, kind)
            array["a"] = rng.random(shape)
            array["é"]["y"] = "ß"
        else:
            raw = rng.bytes(int(np.prod(shape, dtype=int)) * kind.itemsize)
            array = np.frombuffer(raw, kind).reshape(shape)
            if kind.kind in "fc":
                array = np.nan_to_num(array.astype(kind))
        arrays[f"a{number}"] = np.asarray(array)
    again = there_and_back(folder, arrays)
    for name, array in arrays.items():
        assert_same(array, again[name])
    large = [name for name, array in arrays.items() if array.size > 1024]
    assert len(os.listdir(Path(folder.path) / "files")) == len(large) == 3


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    hnp.arrays(
        hnp.scalar_dtypes() | hnp.unicode_string_dtypes(max_len=4),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6),
    ),
    st.sampled_from([1, 1200]),
)
def test_any_array_comes_back_with_its_nans_and_infinities(
    folder: Folder, array: np.ndarray[Any, Any], times: int
) -> None:
    array = np.repeat(array, times, axis=0) if array.ndim else array
    again = there_and_back(folder, {"field": {"in": [array]}})["field"]["in"][0]
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(again, array, strict=True)


def test_no_array_is_ever_pickled_and_object_arrays_name_their_field(folder: Folder) -> None:
    run, _ = folder.create_run(a_run())
    for array in (
        np.array([{}] * 2000),
        np.array([None]),
        np.zeros(2000, [("a", "O")]),
        np.array(["x"] * 2000, np.dtypes.StringDType()),
        np.ma.masked_array(np.zeros(2000), np.ones(2000, bool)),
    ):
        with pytest.raises(TypeError, match=r"^data\.deep\.er\.0: "):
            folder.add_result(a_result(run.id, {"deep": {"er": [array]}}))
    assert folder.ids("result") == os.listdir(Path(folder.path) / "files") == []
    assert os.listdir(Path(folder.path) / ".asgard/intents") == []


def test_real_jax_arrays_come_back_as_numpy(folder: Folder) -> None:
    key = jax.random.key(0)
    arrays = {
        "small": jnp.arange(5.0),
        "large": jax.random.normal(key, (60, 50)),
        "half": jnp.ones((2000,), jnp.bfloat16) / 3,
        "whole": jnp.arange(3000, dtype=jnp.int8),
        "complex": jnp.full((3,), 1 + 2j),
        "scalar": jnp.asarray(2.5),
        "empty": jnp.zeros((0, 3)),
    }
    again = there_and_back(folder, {"params": {"layers": [arrays]}})["params"]["layers"][0]
    for name, array in arrays.items():
        assert_same(np.asarray(array), again[name])
    with pytest.raises(TypeError, match=r"^data\.key: "):
        there_and_back(folder, {"key": key})


def test_the_library_imports_neither_jax_nor_ml_dtypes() -> None:
    code = (
        "import sys, tempfile, numpy; from gimle.asgard import AsgardStorage;"
        "s = AsgardStorage(tempfile.mkdtemp());"
        "r = s.save_simulation_result('n', 'Solution1D', {'x': numpy.arange(3000.)});"
        "s.get_run(r.id).results[0].data;"
        "print({'jax', 'ml_dtypes', 'grpc', 'httpx', 'typer'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_large_arrays_are_memory_mapped_and_changing_them_changes_no_file(folder: Folder) -> None:
    array = np.arange(200_000.0)
    id = stored(folder, {"x": array, "y": array[:5000]})
    data = folder.read_result(id).data
    assert isinstance(data["x"], np.memmap)
    assert not isinstance(data["y"], np.memmap)
    data["x"][:] = 0
    data["y"][:] = 0
    assert np.array_equal(folder.read_result(id).data["x"], array)


def test_files_are_plain_npy_named_by_result_and_field(folder: Folder) -> None:
    array = np.arange(2000.0).reshape(2, 1000)
    names = ["x", "X", "größe", "a/b", "..", "", "$array", "w" * 300, "a b"]
    data = {"nested": {"deep": [array]}, **{name: array + i for i, name in enumerate(names)}}
    id = stored(folder, data)
    files = os.listdir(Path(folder.path) / "files")
    assert len(files) == len(names) + 1
    assert f"{id}_x.npy" in files
    assert f"{id}_nested.deep.0.npy" in files
    assert all(name.startswith(f"{id}_") and len(name) < 200 for name in files)
    assert len({name.casefold() for name in files}) == len(files)
    assert np.array_equal(np.load(Path(folder.path) / "files" / f"{id}_x.npy"), array)
    again = folder.read_result(id).data
    for i, name in enumerate(names):
        assert_same(array + i, again[name])
    folder.delete_result(id)
    assert os.listdir(Path(folder.path) / "files") == []


def test_paths_of_an_ensemble_lie_transposed_and_come_back_turned(folder: Folder) -> None:
    paths = np.arange(6000.0).reshape(20, 300)
    id = stored(folder, {"t": np.arange(300.0), "paths": paths}, "StochasticEnsemble")
    (ref,) = references_of(folder, id)
    assert ref.transposed
    assert ref.shape == (20, 300)
    assert np.load(Path(folder.path) / ref.path).shape == (300, 20)
    assert_same(paths, folder.read_result(id).data["paths"])


def test_an_array_file_written_by_hand_in_fortran_order_is_read_right(folder: Folder) -> None:
    array = np.asfortranarray(np.arange(6000.0).reshape(2, 3000))
    id = stored(folder, {"x": np.zeros((2, 3000))})
    np.save(Path(folder.path) / "files" / f"{id}_x.npy", array)
    assert_same(array, folder.read_result(id).data["x"])
    folder.append(id, {"x": np.ones((1, 3000))})
    grown = folder.read_result(id).data["x"]
    assert np.array_equal(grown, np.concatenate([array, np.ones((1, 3000))]))


@pytest.mark.parametrize(
    "path", ["files/../../etc/passwd", "/etc/passwd", "runs/x.json", "files/.x"]
)
def test_a_reference_that_leaves_its_folder_is_refused(folder: Folder, path: str) -> None:
    id = stored(folder, {"x": np.arange(2000.0)})
    (ref,) = references_of(folder, id)
    document = Path(folder.path) / "results" / f"{id}.json"
    document.write_text(document.read_text().replace(ref.path, path))
    with pytest.raises(DocumentError, match="is not files/<name>"):
        folder.read_result(id)


def test_a_missing_or_short_array_file_is_named(folder: Folder) -> None:
    id = stored(folder, {"x": np.arange(2000.0)})
    (ref,) = references_of(folder, id)
    os.truncate(Path(folder.path) / ref.path, 1000)
    with pytest.raises(DocumentError, match="shorter"):
        folder.read_result(id)
    os.unlink(Path(folder.path) / ref.path)
    with pytest.raises(DocumentError, match="missing"):
        folder.read_result(id)


def test_a_missing_array_file_is_named_although_another_array_lies_inline(folder: Folder) -> None:
    id = stored(folder, {"x": np.arange(2000.0), "small": np.arange(3.0)})
    (ref,) = references_of(folder, id)
    os.unlink(Path(folder.path) / ref.path)
    with pytest.raises(DocumentError, match="missing"):
        folder.read_result(id)
