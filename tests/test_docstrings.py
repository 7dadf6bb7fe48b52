"""Every public class of the libraries has an example, and the examples give what they say."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import flambeau

PACKAGES = ("nn", "optim", "utils.data", "jit")
NAMESPACES = (
    *("nn", "nn.attention", "nn.utils.rnn", "nn.utils.parametrize", "nn.utils.prune"),
    *("optim", "optim.lr_scheduler", "optim.swa_utils", "utils.data"),
)


def list_modules():
    """The names of all modules below the packages."""
    for name in PACKAGES:
        package = importlib.import_module(f"flambeau.{name}")
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            yield found.name


@pytest.mark.parametrize("name", list(list_modules()))
def test_examples_give_what_they_say(name):
    flambeau.manual_seed(0)
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, verbose=False)
    assert failed == 0


@pytest.mark.parametrize("name", NAMESPACES)
def test_public_classes_have_examples(name):
    namespace = importlib.import_module(f"flambeau.{name}")
    classes = [getattr(namespace, public) for public in namespace.__all__]
    classes = [kind for kind in classes if inspect.isclass(kind) and kind.__name__[0] != "_"]
    assert classes
    missing = [kind.__name__ for kind in classes if ">>>" not in (inspect.getdoc(kind) or "")]
    assert missing == []
    undocumented = [kind.__name__ for kind in classes if not vars(kind).get("__doc__")]
    assert undocumented == []
