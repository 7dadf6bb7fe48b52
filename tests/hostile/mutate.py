"""Sound files with random damage, the same for the same seed."""

import io
import pickle
import struct
import zipfile
from random import Random

import flambeau as torch
from flambeau import safetensors

OPCODES = sorted(
    value[0] for value in vars(pickle).values() if isinstance(value, bytes) and len(value) == 1
)
VALUE = {
    "tensor": torch.arange(6.0).view(2, 3).t(),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "plain": [1, 2.5, (1, 2), {"x": None}, {3}, torch.Size([1]), torch.float16, b"\xff", 2**70],
    "storage": torch.arange(3).storage(),
    "half": torch.ones(3, dtype=torch.bfloat16),
}
NUMBERS = (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", struct.pack("<Q", 2**40), b"\xff" * 8)
WORDS = (b'"', b"{", b"}", b"[", b"-", b"9", b"0", b",", b"99999999999", b'"shape":[0],', b"\xff")


def make_seeds() -> dict[str, bytes]:
    """A sound file of each format, by the suffix of its name."""
    archive, old = io.BytesIO(), io.BytesIO()
    torch.save(VALUE, archive)
    torch.save(VALUE, old, _use_new_zipfile_serialization=False)
    tensors = {"a": torch.ones(2, 3), "b": torch.arange(4), "c": torch.zeros(0)}
    return {
        "zip.pt": archive.getvalue(),
        "legacy.pt": old.getvalue(),
        "x.safetensors": safetensors.save(tensors, {"by": "test"}),
    }


def damage(data: bytes, random: Random) -> bytes:
    """Change, remove, repeat, insert or splice bytes in one to eight places, or cut the end off."""
    result = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if not result:
            break
        at, other = random.randrange(len(result)), random.randrange(len(result))
        size, kind = random.randrange(1, 8), random.randrange(9)
        if kind == 0:
            result[at] = random.randrange(256)
        elif kind == 1:
            result[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            result[at] = random.choice(OPCODES)
        elif kind == 3:
            del result[at : at + size]
        elif kind == 4:
            result[at:at] = result[other : other + 4 * size]
        elif kind == 5:
            number = random.choice(NUMBERS)
            result[at : at + len(number)] = number
        elif kind == 6:
            result.insert(at, random.choice(OPCODES))
        elif kind == 7:
            result[at:at] = random.choice(WORDS)
        elif random.random() < 0.2:
            del result[at:]
    return bytes(result)


def rewrap(data: bytes, random: Random) -> bytes:
    """A checkpoint whose archive is sound and whose pickle is damaged."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, record in records.items():
            is_pickle = name.endswith("data.pkl")
            archive.writestr(name, damage(record, random) if is_pickle else record)
    return stream.getvalue()


def make_damaged(seeds: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The damaged file of a number: its name and its bytes."""
    random = Random(number)
    suffix = random.choice(list(seeds))
    data = seeds[suffix]
    if suffix == "zip.pt" and random.random() < 0.7:
        return f"{number}.{suffix}", rewrap(data, random)
    return f"{number}.{suffix}", damage(data, random)
