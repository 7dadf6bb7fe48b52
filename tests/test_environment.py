"""What programs ask of the environment: CUDA, switches of libraries, settings, versions."""

import pickle
import subprocess
import sys

import pytest

import flambeau as torch


def test_cuda_is_absent_and_says_so() -> None:
    assert torch.cuda.is_available() is False
    assert torch.cuda.device_count() == 0
    torch.cuda.manual_seed_all(0)
    torch.cuda.empty_cache()
    assert torch.cuda.max_memory_allocated() == 0
    for ask in (torch.cuda.current_device, torch.cuda.synchronize, torch.cuda.get_device_name):
        with pytest.raises(AssertionError, match=r"torch\.cuda\..*is_available\(\)"):
            ask()
    with pytest.raises(RuntimeError, match="device='cpu'"):
        torch.ones(2).cuda()


def test_switches_of_libraries_keep_their_value() -> None:
    import flambeau.backends.cudnn as cudnn

    assert cudnn is torch.backends.cudnn
    assert not cudnn.is_available()
    assert cudnn.version() is None
    with cudnn.flags(benchmark=True, deterministic=True):
        assert (cudnn.benchmark, cudnn.deterministic) == (True, True)
    assert (cudnn.benchmark, cudnn.deterministic) == (False, False)
    with pytest.raises(TypeError, match="no switch 'speed'"), cudnn.flags(speed=1):
        pass
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert not torch.backends.mps.is_available()


def test_settings() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_deterministic_debug_mode() == 1
    torch.set_deterministic_debug_mode("default")
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(TypeError, match="must be a bool"):
        torch.use_deterministic_algorithms(1)
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ValueError, match="'fast'"):
        torch.set_float32_matmul_precision("fast")
    torch.set_default_device("cpu")
    assert torch.get_default_device() == torch.device("cpu")
    with pytest.raises(RuntimeError, match="computes on the processor"):
        torch.set_default_device("cuda")


def test_what_is_absent_says_what_to_do() -> None:
    assert not hasattr(torch, "compile")
    with pytest.raises(AttributeError, match="no attribute 'compile': "):
        _ = torch.compile


def test_typename() -> None:
    assert torch.typename(torch.ones(1, dtype=torch.int64)) == "torch.LongTensor"
    assert torch.typename(torch.nn.Linear(1, 1)) == "flambeau.nn.modules.linear.Linear"
    assert torch.typename(None) == "NoneType"


def test_version() -> None:
    assert torch.version.__version__ == torch.__version__
    assert torch.version.cuda is None


def test_named_results_print_and_pickle_as_their_type() -> None:
    result = torch.max(torch.tensor([[1, 3], [4, 2]]), dim=1)
    assert repr(result) == (
        "torch.return_types.max(\nvalues=tensor([3, 4]),\nindices=tensor([1, 0]))"
    )
    assert type(result) is torch.return_types.max
    back = pickle.loads(pickle.dumps(result))
    assert type(back) is type(result)
    assert back.values.tolist() == [3, 4]
    with pytest.raises(AttributeError, match="no op has returned it"):
        _ = torch.return_types.nothing


def test_import_stays_lazy() -> None:
    source = (
        "import sys, flambeau; print([m for m in sys.modules if m.startswith('flambeau.cuda')])"
    )
    printed = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert printed.stdout == "[]\n", printed.stderr
