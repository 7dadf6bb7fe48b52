"""What programs ask of the compilers and process groups that are not there."""

import importlib
import pkgutil

import pytest

import flambeau as torch


def test_scripts_stay_python():
    @torch.jit.script
    def double(x):
        return x * 2

    @torch.jit.ignore
    def plain(x):
        return x

    @torch.jit.ignore(drop=True)
    def dropped(x):
        return x

    model = torch.nn.Linear(2, 2)
    assert torch.jit.script(model) is model
    assert double(torch.tensor(2)).item() == 4
    assert plain(1) == dropped(1) == torch.jit.annotate(int, 1) == 1
    assert not torch.jit.is_scripting()
    assert not torch.jit.is_tracing()
    assert not isinstance(model, (torch.jit.ScriptModule, torch.jit.ScriptFunction))


def test_marks_give_back_what_they_mark():
    def function():
        return 1

    jit = torch.jit
    for mark in (jit.export, jit.unused, jit.interface, jit.script_if_tracing, torch.fx.wrap):
        assert mark(function) is function


def test_compiler_is_not_at_work():
    compiler = torch.compiler
    assert not compiler.is_compiling()
    assert not compiler.is_dynamo_compiling()
    assert not compiler.is_exporting()
    assert compiler.disable(len) is compiler.disable()(len) is compiler.allow_in_graph(len) is len
    compiler.reset()
    compiler.cudagraph_mark_step_begin()


def test_no_accelerator():
    assert not torch.accelerator.is_available()
    assert torch.accelerator.device_count() == 0
    assert torch.accelerator.current_accelerator() is None
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()
    for name in ("CUDAGraph", "Event", "Stream", "StreamContext", "graph", "stream"):
        with pytest.raises(AssertionError, match="CUDA"):
            getattr(torch.cuda, name)()


def test_types_without_instances():
    from flambeau.distributed.fsdp import FullyShardedDataParallel

    with pytest.raises(RuntimeError, match="one process"):
        FullyShardedDataParallel(torch.nn.Linear(1, 1))
    for kind in (torch.fx.Proxy, torch.jit.ScriptFunction):
        with pytest.raises(TypeError, match=r"Flambeau|Python"):
            kind()


def test_one_process():
    assert not torch.distributed.is_available()
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("jit", "save"), ("fx", "symbolic_trace"), ("distributed", "all_reduce")),
        *(("compiler", "set_stance"), ("accelerator", "set_stream")),
    ],
)
def test_what_is_absent_says_so(module, name):
    holder = getattr(torch, module)
    assert not hasattr(holder, name)
    with pytest.raises(AttributeError, match=rf"{module}\.{name}: .*Flambeau"):
        getattr(holder, name)


@pytest.mark.parametrize("name", ["jit", "fx", "distributed", "hub", "compiler", "accelerator"])
def test_public_names_exist(name):
    module = importlib.import_module(f"flambeau.{name}")
    assert [public for public in module.__all__ if not hasattr(module, public)] == []
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        importlib.import_module(f"flambeau.{name}.{found.name}")
