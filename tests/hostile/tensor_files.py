"""Safetensors files made to do harm."""

import json
import struct


def build(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file with any header (bytes, or what JSON can say), any length in front, any data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def place(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict:
    """An entry of the header; sound by default."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def make_sound() -> bytes:
    """A file that loads."""
    header = {"__metadata__": {"by": "test"}, "b": place("F32", (1,)), "a": place(offsets=(4, 8))}
    return build(header, bytes(8))


def list_tensor_files() -> dict[str, bytes]:
    """Files that must be refused."""
    sound = make_sound()
    end = len(sound) - 8
    cuts = (0, 1, 7, 8, 9, 30, end - 1, end, end + 3, len(sound) - 1)
    result = {f"cut off after {size} bytes": sound[:size] for size in cuts}
    entries = {
        "a gap": {"a": place(), "b": place(offsets=(5, 9))},
        "an overlap": {"a": place(), "b": place(offsets=(2, 6))},
        "the same bytes": {"a": place(), "b": place()},
        "backwards": {"a": place(offsets=(4, 0))},
        "not from zero": {"a": place(offsets=(1, 5))},
        "negative offsets": {"a": place(offsets=(-4, 0))},
        "another size": {"a": place("F32")},
        "a terabyte": {"a": place(shape=(2**40,), offsets=(0, 2**40))},
        "a product that overflows": {"a": place(shape=(2**32, 2**32, 2**32))},
        "a product that overflows, then zero": {
            "a": place(shape=(2**62, 2**62, 0), offsets=(0, 0))
        },
        "a negative size": {"a": place(shape=(-4,))},
        "two negative sizes": {"a": place(shape=(-2, -2))},
        "a size of 2^64": {"a": place(shape=(2**64,))},
        "a size with a fraction": {"a": place(shape=(4.0,))},
        "a size that is true": {"a": place(shape=(True, 4))},
        "a size that is text": {"a": place(shape=("4",))},
        "a shape that is a number": {"a": place(shape=4)},
        "a shape that is an object": {"a": place(shape={"0": 4})},
        "a shape in a shape": {"a": place(shape=([4],))},
        "offsets with fractions": {"a": place(offsets=(0.0, 4.0))},
        "three offsets": {"a": place(offsets=(0, 4, 8))},
        "one offset": {"a": place(offsets=(4,))},
        "an unknown dtype": {"a": place("F99")},
        "a dtype that is a list": {"a": place(["U8"])},
        "a dtype in small letters": {"a": place("u8")},
        "half a byte": {"a": place("F4", (3,), (0, 2))},
        "one key more": {"a": {**place(), "device": "cpu"}},
        "one key less": {"a": {"dtype": "U8", "shape": [4]}},
        "a tensor that is a list": {"a": [1, 2]},
        "a tensor that is null": {"a": None},
        "metadata with a number": {"__metadata__": {"a": 1}, "b": place()},
        "metadata in metadata": {"__metadata__": {"a": {"b": "c"}}, "b": place()},
        "metadata that is a list": {"__metadata__": ["a"], "b": place()},
    }
    for name, header in entries.items():
        stops = [
            entry["data_offsets"][-1]
            for entry in header.values()
            if isinstance(entry, dict) and entry.get("data_offsets")
        ]
        size = max([0, *(int(stop) for stop in stops if stop < 100)])
        result[name] = build(header, bytes(size or 4))
    broken = {
        "no object": b"[]",
        "a number": b"3",
        "a space in front": b" {}",
        "broken": b'{"a"',
        "two objects": b"{}{}",
        "a comma too much": b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},}',
        "bytes that are no text": b'{"a\xff":1}',
        "text of 16 bits": '{"a":1}'.encode("utf-16"),
        "half a surrogate pair": b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        "half a pair in the metadata": b'{"__metadata__":{"a":"\\udfff"}}',
        "a zero byte": b'{"a\0":1}',
        "not a number": b'{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}',
        "infinity": b'{"a":{"dtype":"U8","shape":[Infinity],"data_offsets":[0,0]}}',
        "a number of 5000 digits": (
            b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}'
        ),
        "an exponent": b'{"a":{"dtype":"U8","shape":[1e3],"data_offsets":[0,1000]}}',
        "a tensor twice": (
            b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
            b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        ),
        "metadata twice": b'{"__metadata__":{},"__metadata__":{}}',
        "a key of an entry twice": (
            b'{"a":{"dtype":"F64","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
        ),
        "lists 100 000 deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "objects 100 000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "deep and open": b'{"a":' + b"[" * 1_000_000,
        "empty": b"",
        "a comment": b"{}//",
    }
    result |= {name: build(header) for name, header in broken.items()}
    usual = len(json.dumps({"a": place()}))
    return result | {
        "a pickle": b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.",
        "length one more": build({"a": place()}, bytes(4), length=usual + 1),
        "length into the data": build({"a": place()}, bytes(400), length=300),
        "length one less": build({"a": place()}, bytes(4), length=usual - 1),
        "length zero": build({"a": place()}, bytes(4), length=0),
        "length of 100 MB": build({"a": place()}, bytes(4), length=100_000_001),
        "length of an exabyte": build({"a": place()}, bytes(4), length=2**60),
        "length beyond 63 bits": build({"a": place()}, bytes(4), length=2**64 - 1),
        "bytes behind the tensors": build({"a": place()}, bytes(5)),
        "bytes without tensors": build({}, bytes(1)),
    }
