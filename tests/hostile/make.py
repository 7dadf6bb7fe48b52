"""All hostile files, made when they are wanted.

    python -m tests.hostile.make FOLDER

writes them to a folder, to try another program on them. Their names say what is wrong.
"""

import re
import sys
from pathlib import Path

from tests.hostile.archives import list_archives
from tests.hostile.costly import list_bombs, list_harmless
from tests.hostile.legacy import list_legacy_files, make_file
from tests.hostile.pickles import (
    DAMAGED,
    GEOMETRY,
    ONE,
    STORAGES,
    ZERO,
    list_attacks,
    rebuild,
    storage_id,
    zip_around,
)
from tests.hostile.tensor_files import list_tensor_files

TRAP = "owned"  # a file that attacks would make


def wrap(pickled: bytes) -> bytes:
    """An archive around a pickle, with a storage of 16 bytes and one of 16 000."""
    return zip_around(pickled, data__0=bytes(16), data__1=bytes(16_000))


def list_pickles(trap: str = TRAP) -> dict[str, bytes]:
    """Pickles that must be refused, in either format."""
    built = {f"geometry: {n}": rebuild(storage_id(), *GEOMETRY[n]) for n in GEOMETRY}
    stored = {
        f"storage: {name}": rebuild(identity, ZERO, ONE + b"\x85", ONE + b"\x85")
        for name, identity in STORAGES.items()
    }
    attacks = {f"attack: {name}": data for name, data in list_attacks(trap).items()}
    bombs = {f"bomb: {name}": data for name, data in list_bombs().items()}
    damaged = {n: data for n, data in DAMAGED.items() if n != "negative size"}  # a Size is data
    return {**attacks, **damaged, **built, **stored, **bombs}


def list_refused(trap: str = TRAP) -> dict[str, bytes]:
    """Files by name that must be refused, each with the one documented exception."""
    pickles = list_pickles(trap)
    files = {f"zip, {name}.pt": wrap(p) for name, p in pickles.items()}
    del pickles["storage: missing record"]  # its storage "7" is one of those files
    files |= {f"legacy, {name}.pt": make_file(p) for name, p in pickles.items()}
    files |= {f"zip: {name}.pt": data for name, data in list_archives().items()}
    files |= {f"legacy: {name}.pt": data for name, data in list_legacy_files().items()}
    files |= {f"{name}.safetensors": data for name, data in list_tensor_files().items()}
    return files


def list_allowed() -> dict[str, bytes]:
    """Files by name that may load, in little time and memory."""
    return {f"zip, {name}.pt": wrap(p) for name, p in list_harmless().items()}


def write_files(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write the files; their paths."""
    paths = []
    for name, data in files.items():
        path = folder / re.sub(r"[^\w.,-]+", "_", name)
        path.write_bytes(data)
        paths.append(path)
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(len(write_files(target, list_refused() | list_allowed())), "files in", target)
