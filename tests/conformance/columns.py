"""The columns of the table. PyTorch is not imported here, so the command line answers at once."""

VALUE_DTYPES = ("float32", "float64", "int64", "bool", "complex64")
GRADIENT_DTYPES = {"grad": "float64", "grad_complex": "complex128", "gradgrad": "float64"}
COLUMNS = (*VALUE_DTYPES, *GRADIENT_DTYPES, "errors", "inplace", "out")
# Names for several columns at once on the command line.
GROUPS = {
    "all": COLUMNS,
    "value": VALUE_DTYPES,
    "gradient": tuple(GRADIENT_DTYPES),
}


def parse_columns(text: str) -> tuple[str, ...]:
    """Return the columns that a comma-separated list names, in the table's order."""
    wanted: set[str] = set()
    for name in text.split(","):
        if name not in GROUPS and name not in COLUMNS:
            known = ", ".join([*GROUPS, *COLUMNS])
            raise ValueError(f"no column {name!r}; there are {known}")
        wanted.update(GROUPS.get(name, (name,)))
    return tuple(column for column in COLUMNS if column in wanted)
