"""The ops under their `nn.functional` form, for the composites in this folder.

Where an op has two forms (`batch_norm` orders its arguments in two ways), this is the one that
`nn.functional` shows. An op is looked up at its first use and stays here as a plain attribute.
"""

from __future__ import annotations

from typing import Any

from flambeau.ops import NAMESPACES


def __getattr__(name: str) -> Any:
    for space in ("nn.functional", ""):
        if name in NAMESPACES[space]:
            return globals().setdefault(name, NAMESPACES[space][name])
    raise AttributeError(f"module {__name__!r} has no op {name!r}")
