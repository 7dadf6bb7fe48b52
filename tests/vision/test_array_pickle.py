"""The reader of pickled arrays: reads what NumPy writes, runs nothing, refuses the rest."""

import io
import pickle
import pickletools
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.vision.datasets.array_pickle import load_array_pickle
from flambeau.vision.datasets.array_pickle import read_array_pickle as read

ARRAYS = [
    np.arange(12, dtype=np.uint8).reshape(3, 4),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.array([[True, False]]),
    np.array(7, dtype=">i4"),
    np.zeros((0, 5), dtype=np.int64),
]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}-{array.shape}")
def test_reads_arrays_of_every_protocol(array, protocol):
    result = read(pickle.dumps({"data": array, "labels": [1, 2]}, protocol))
    np.testing.assert_array_equal(result["data"], array)
    assert result["data"].dtype == array.dtype
    assert result["labels"] == [1, 2]


def test_reads_the_older_name_of_numpys_module():
    data = pickle.dumps(ARRAYS[0], 2)
    older = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert older.count(b"numpy.core.multiarray") == 1
    np.testing.assert_array_equal(read(older), ARRAYS[0])


def test_shared_arrays_and_containers_stay_shared():
    item = [ARRAYS[0]]
    first, second = read(pickle.dumps([item, item], 2))
    assert first is second


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize(
    "function",
    [
        eval,
        exec,
        getattr,
        __import__,
        open,
        print,
        type,
        object,
        np.load,
        np.fromfile,
        np.frombuffer,
    ],
    ids=lambda function: function.__name__,
)
def test_refuses_every_other_name(function):
    with pytest.raises(pickle.UnpicklingError, match="refused to load"):
        read(pickle.dumps(Call(function, "1")))


@pytest.mark.parametrize("name", [b"_reconstruct.__globals__", b"_reconstruct.__class__", b"array"])
def test_refuses_attributes_of_allowed_names(name):
    module = b"numpy.core.multiarray"
    code = b"\x80\x04\x8c" + bytes([len(module)]) + module + b"\x8c" + bytes([len(name)]) + name
    with pytest.raises(pickle.UnpicklingError, match="refused to load"):
        read(code + b"\x93.")


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
DTYPE = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"


@pytest.mark.parametrize(
    "code",
    [
        b"cnumpy\nndarray\n(K\x05tR.",  # a call of ndarray itself
        b"cnumpy.core.multiarray\n_reconstruct\n(K\x01(K\x00tU\x01btR.",  # of another class
        b"cnumpy\ndtype\n(U\x01OK\x00K\x01tR.",  # objects
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR.",  # a dtype as data
        ARRAY + b".",  # no data
        ARRAY + b"(K\x01(K\x09t" + DTYPE + b"\x89U\x04abcdtb.",  # 9 items, 4 bytes
        ARRAY + b"(K\x01(J\xff\xff\xff\xfft" + DTYPE + b"\x89U\x04abcdtb.",  # a negative size
        ARRAY + b"(K\x01(K\x04tK\x07\x89U\x04abcdtb.",  # a number for a dtype
        b"cnumpy\nndarray\n}(U\x05_makeK\x01ub.",  # changing an allowed function
        b"cnumpy\nndarray\n(N}U\x05_makeK\x01stb.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00rot_13tR.",  # another codec
        b"]q\x00h\x00a.",  # a list that contains itself
        b"Pname\n.",  # a persistent object
        b"\x82\x01.",  # the extension registry
        b"(inumpy\nndarray\n.",  # an instance of a class
        b"cnumpy\nndarray\n)\x81.",
        b"Nr\xff\xff\xff\x7f.",  # a memo of two thousand million objects
    ],
)
def test_refuses_hostile_and_damaged_pickles(code, tmp_path):
    pickletools.dis(b"\x80\x02" + code, out=io.StringIO())  # the pickle is well formed
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02" + code)
    with pytest.raises(pickle.UnpicklingError):
        load_array_pickle(path)


def test_refuses_an_exponential_expansion_in_little_time(tmp_path):
    # A list of two references to the list before it, sixty times: 2**60 items when copied out.
    code = b"\x80\x02]q\x00"
    for index in range(60):
        code += b"]r" + struct.pack("<I", index + 1)
        code += (b"j" + struct.pack("<I", index)) * 2
        code = code[:-10] + b"(" + code[-10:] + b"e"
    path = tmp_path / "batch"
    path.write_bytes(code + b".")
    assert len(load_array_pickle(path)) == 2


def test_refuses_sizes_that_the_file_does_not_have(tmp_path):
    path = tmp_path / "batch"
    for opcode in (b"\x8d", b"\x8e"):
        for size in (1 << 34, 1 << 63):
            path.write_bytes(b"\x80\x04" + opcode + struct.pack("<Q", size) + b"x.")
            with pytest.raises(pickle.UnpicklingError):
                load_array_pickle(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_an_unpickling_error(part, tmp_path):
    data = pickle.dumps({"data": ARRAYS[0], "labels": list(range(50))}, 2)
    path = tmp_path / "batch"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(pickle.UnpicklingError):
        load_array_pickle(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_changed_byte_gives_data_or_an_unpickling_error(data, tmp_path_factory):
    code = bytearray(pickle.dumps({"data": ARRAYS[0], "labels": [1, 2, 3]}, 2))
    for _ in range(data.draw(st.integers(1, 3))):
        code[data.draw(st.integers(0, len(code) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "batch"
    path.write_bytes(code)
    with suppress(pickle.UnpicklingError):
        load_array_pickle(path)
