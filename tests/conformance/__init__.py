"""The conformance runner: PyTorch's tables, fed to Flambeau beside PyTorch.

`python -m tests.conformance --help` lists what it can do; `make parity` runs what must pass.

- `families.py`: the tables: ops, modules, optimisers, schedules; `columns.py`: what is compared.
- `cases.py`: the entries of the op table, their samples and tolerances.
- `translate.py`: PyTorch's values and functions as Flambeau's, and back.
- `compare.py`: when two results are equal.
- `checks.py`: one check a column: values, gradients, second derivatives, errors, in-place, out.
- `modules.py`, `optimizers.py`, `schedulers.py`: the same for the other tables.
- `runner.py`: worker processes that survive crashes and time limits.
- `report.py`: the table, the JSON file, the list of what must pass.
"""
