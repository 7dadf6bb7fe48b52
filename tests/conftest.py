"""Rules for all tests: the same seed for each, and parity tests only where PyTorch is installed."""

import importlib.util
import random
import sys

import pytest

SEED = 20250101


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `parity` where PyTorch is missing; a broken PyTorch still fails."""
    if importlib.util.find_spec("torch") is not None:
        return
    skip = pytest.mark.skip(reason="PyTorch is not installed (make parity installs it)")
    for item in items:
        if "parity" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_seed_for_each_test() -> None:
    """Seed every generator that is loaded, so that a test's numbers do not depend on its order."""
    random.seed(SEED)
    for name in ("flambeau", "torch"):
        if name in sys.modules:
            sys.modules[name].manual_seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)
