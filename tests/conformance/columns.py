"""The columns of the tables. PyTorch is not imported here, so the command line answers at once."""

VALUE_DTYPES = ("float32", "float64", "int64", "bool", "complex64")
GRADIENT_DTYPES = {"grad": "float64", "grad_complex": "complex128", "gradgrad": "float64"}
# What is compared of each family of entries. No entry of one family has a name of another's.
FAMILIES = {
    "ops": (*VALUE_DTYPES, *GRADIENT_DTYPES, "errors", "inplace", "out"),
    "modules": (
        *("state", "repr", "init", "train", "eval", "grad", "gradgrad"),
        *("round_trip", "copies", "errors"),
    ),
    "optimizers": ("steps", "flags", "complex", "state", "resume", "errors"),
    "schedulers": ("rates", "state", "resume"),
}
COLUMNS = tuple(dict.fromkeys(column for columns in FAMILIES.values() for column in columns))
# Names for several columns at once on the command line.
GROUPS = {
    "all": COLUMNS,
    "value": VALUE_DTYPES,
    "gradient": tuple(GRADIENT_DTYPES),
    **FAMILIES,
}


def family(entry: str) -> str:
    """Return the family of an entry, which its name tells."""
    head, _, rest = entry.partition(".")
    if head == "nn" and rest[:1].isupper():
        return "modules"
    return {"optim": "optimizers", "lr_scheduler": "schedulers"}.get(head, "ops")


def parse_columns(text: str) -> tuple[str, ...]:
    """Return the columns that a comma-separated list names, in the table's order."""
    wanted: set[str] = set()
    for name in text.split(","):
        if name not in GROUPS and name not in COLUMNS:
            known = ", ".join([*GROUPS, *COLUMNS])
            raise ValueError(f"no column {name!r}; there are {known}")
        wanted.update(GROUPS.get(name, (name,)))
    return tuple(column for column in COLUMNS if column in wanted)
