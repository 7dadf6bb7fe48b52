"""Pickles made to do harm, for either format of checkpoints."""

import io
import os
import pickle
import struct
import zipfile

P = pickle


def short_text(text: str) -> bytes:
    return P.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()


def zip_around(pickled: bytes, **records: bytes) -> bytes:
    """A well-formed checkpoint archive around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in records.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)
    return stream.getvalue()


def call(module: str, name: str, arguments: bytes) -> bytes:
    """PROTO 2, the global, its arguments (a tuple), REDUCE, STOP."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


class Attack:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def list_attacks(path: str) -> dict[str, bytes]:
    command = f"touch {path}".encode()
    argument = b"X" + struct.pack("<I", len(command)) + command
    system = f"{os.system.__module__}\nsystem\n".encode()
    module, name = short_text(os.system.__module__), short_text("system")
    code = f"open({path!r}, 'w')".encode()
    code_argument = b"X" + struct.pack("<I", len(code)) + code
    return {
        "global": b"\x80\x02c" + system + argument + b"\x85R.",
        "global os": b"\x80\x02cos\nsystem\n" + argument + b"\x85R.",
        "stack global": b"\x80\x04" + module + name + b"\x93" + argument + b"\x85R.",
        "stack global by memo": (
            b"\x80\x04" + module + b"\x940" + name + b"\x940h\x00h\x01\x93" + argument + b"\x85R."
        ),
        "eval": call("builtins", "eval", code_argument + b"\x85"),
        "eval, Python 2 name": call("__builtin__", "eval", code_argument + b"\x85"),
        "exec": call("builtins", "exec", code_argument + b"\x85"),
        "getattr": call("builtins", "getattr", b"cos\nenviron\n" + short_text("clear") + b"\x86"),
        "import": call("builtins", "__import__", short_text("antigravity") + b"\x85"),
        "open": call("builtins", "open", short_text("owned") + short_text("w") + b"\x86"),
        "inst": b"(" + argument + b"i" + system + b".",
        "obj": b"(c" + system + argument + b"o.",
        "newobj": b"\x80\x02cbuiltins\nobject\n)\x81.",
        "newobj_ex": b"\x80\x04cbuiltins\nobject\n)}\x92.",
        "build with __setstate__": (
            b"\x80\x02ccollections\nOrderedDict\n)R}"
            + short_text("__setstate__")
            + b"c"
            + system
            + b"sb"
            + argument
            + b"b."
        ),
        "build __class__": (
            b"\x80\x02ccollections\nOrderedDict\n)R}" + short_text("__class__") + b"K\x01sb."
        ),
        "extension code": b"\x80\x02\x82\x01.",
        "persistent text id": b"Psystem\n.",
        "class walk": call("builtins", "type", short_text("x") + b")}\x87"),
        "torch internals": call("torch.hub", "load", argument + b"\x85"),
        "dotted name": b"\x80\x04" + short_text("torch") + short_text("nn.os.system") + b"\x93.",
        "our own modules": call("flambeau.serialization", "os.system", argument + b"\x85"),
        "collections' own imports": b"\x80\x02ccollections\n_sys\n.",
        "functools.partial": call("functools", "partial", b"c" + system + argument + b"\x86"),
        "reduce on text": b"\x80\x02" + short_text("system") + argument + b"\x85R.",
        "reduce on a storage class": b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.",
        "type rebuild of a function": (
            b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\ndevice\nctorch\nTensor\n"
            + short_text("cpu")
            + b"\x85}tR."
        ),
        "default factory": call("collections", "defaultdict", b"ctorch\ndevice\n\x85"),
        "pickled by pickle": pickle.dumps(Attack(os.system, command.decode()), 2),
        "pickled by pickle 4": pickle.dumps(Attack(os.system, command.decode()), 4),
        "hidden in a state dict": pickle.dumps({"w": [Attack(eval, code.decode())]}, 2),
    }


DAMAGED = {
    "empty": b"",
    "no stop": b"\x80\x02]",
    "stop on an empty stack": b"\x80\x02.",
    "protocol 9": b"\x80\x09]..",
    "unknown opcode": b"\x80\x02\xff.",
    "pop beyond a mark": b"\x80\x02](0a.",
    "mark without end": b"\x80\x02t.",
    "tuple of too little": b"\x80\x02K\x01\x87.",
    "odd items": b"\x80\x02}(K\x01u.",
    "append to a dict": b"\x80\x02}K\x01a.",
    "append to text": b"\x80\x02" + short_text("x") + b"K\x01a.",
    "setitem on a list": b"\x80\x02]K\x01K\x01s.",
    "memo miss": b"\x80\x02h\x05.",
    "memo of an empty stack": b"\x80\x02q\x05.",
    "long with negative size": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "long of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "text of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "bytes of 2^63": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "bytearray of 2^60": b"\x80\x05\x96\x00\x00\x00\x00\x00\x00\x00\x10abc.",
    "broken utf-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "global without end": b"\x80\x02cos\nsyst",
    "global of control characters": b"\x80\x02c\x00\n\x00\n.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "unhashable set item": b"\x80\x02c__builtin__\nset\n](]e\x85R.",
    "bytearray by number": call("builtins", "bytearray", b"J\xff\xff\xff\x7f\x85"),
    "unknown device": call("torch", "device", short_text("nonsense") + b"\x85"),
    "size of text": call("torch", "Size", b"](" + short_text("x") + b"e\x85"),
    "negative size": call("torch", "Size", b"K\x01J\xff\xff\xff\xff\x86\x85") + b"junk"[:0],
    "wrong number of arguments": call("torch._utils", "_rebuild_tensor_v2", b")"),
    "tensor on a number": call(
        "torch._utils", "_rebuild_tensor_v2", b"(K\x01K\x00K\x01\x85K\x01\x85\x89]t"
    ),
    "parameter of a list": call("torch._utils", "_rebuild_parameter", b"]\x88]\x87"),
    "persistent id of no storage": b"\x80\x02" + short_text("storage") + b"Q.",
    "persistent id with too little": b"\x80\x02" + short_text("storage") + b"\x85Q.",
}


def rebuild(storage: bytes, offset: bytes, size: bytes, stride: bytes) -> bytes:
    return call(
        "torch._utils", "_rebuild_tensor_v2", b"(" + storage + offset + size + stride + b"\x89]t"
    )


def storage_id(kind: str = "FloatStorage", key: str = "0", count: bytes = b"K\x04") -> bytes:
    return (
        b"("
        + short_text("storage")
        + f"ctorch\n{kind}\n".encode()
        + short_text(key)
        + short_text("cpu")
        + count
        + b"tQ"
    )


def big(number: int) -> bytes:
    raw = number.to_bytes(16, "little", signed=True)
    return b"\x8a\x10" + raw


ONE, FOUR, ZERO = b"K\x01", b"K\x04", b"K\x00"
GEOMETRY = {
    "too long": (ZERO, b"K\x05\x85", ONE + b"\x85"),
    "offset outside": (b"K\x05", ONE + b"\x85", ONE + b"\x85"),
    "offset outside, no elements": (b"K\x05", ZERO + b"\x85", ONE + b"\x85"),
    "negative offset": (big(-1), ONE + b"\x85", ONE + b"\x85"),
    "stride outside": (ZERO, b"K\x02\x85", b"K\x04\x85"),
    "negative stride": (b"K\x03", b"K\x02\x85", big(-1) + b"\x85"),
    "negative size": (ZERO, big(-4) + b"\x85", ONE + b"\x85"),
    "product overflows": (ZERO, big(2**32) + big(2**32) + b"\x86", ZERO + ZERO + b"\x86"),
    "size beyond int64": (ZERO, big(2**64) + b"\x85", ZERO + b"\x85"),
    "stride beyond int64": (ZERO, ONE + b"\x85", big(2**100) + b"\x85"),
    "end overflows": (ZERO, b"K\x02\x85", big(2**63 - 1) + b"\x85"),
    "fewer strides": (ZERO, b"K\x02K\x02\x86", ONE + b"\x85"),
    "size is a float": (ZERO, b"G\x40\x00\x00\x00\x00\x00\x00\x00\x85", ONE + b"\x85"),
    "size is a bool": (ZERO, b"\x88\x85", ONE + b"\x85"),
    "size is text": (ZERO, short_text("ab"), short_text("ab")),
    "size is no tuple": (ZERO, ONE, ONE),
    "65 dimensions": (ZERO, b"(" + ONE * 65 + b"t", b"(" + ONE * 65 + b"t"),
}


STORAGES = {
    "more elements than bytes": storage_id(count=b"K\x05"),
    "wider elements": storage_id("DoubleStorage"),
    "a terabyte": storage_id(count=big(2**38)),
    "negative count": storage_id(count=big(-1)),
    "count is text": storage_id(count=short_text("4")),
    "missing record": storage_id(key="7"),
    "path trick": storage_id(key="../data.pkl"),
    "unknown class": storage_id("QInt8Storage"),
    "class of no storage": storage_id("Size"),
}
