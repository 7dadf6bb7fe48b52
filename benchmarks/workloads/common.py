"""What every workload is made of.

A workload's `build` is given the framework, makes what it needs and returns a statement with the
names it uses; the worker repeats the statement without a function call in between. A name `f` or
`step` is what `--against compile` hands to `torch.compile`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = tuple[str, dict[str, Any]]
Build = Callable[[Any], Body]


@dataclass(frozen=True)
class Work:
    """What no implementation can avoid: bytes read and written, floating-point operations."""

    bytes: float = 0.0
    flops: float = 0.0


@dataclass(frozen=True)
class Workload:
    """A row of the table.

    `target` is the greatest accepted ratio to PyTorch's time; `large` marks what must profit from
    a second thread; `memory` asks for the peak of resident memory too.
    """

    group: str
    name: str
    build: Build
    work: Work | None = None
    target: float = 1.0
    large: bool = False
    memory: bool = False

    @property
    def key(self) -> str:
        """Return the name by which the row is asked for."""
        return f"{self.group}: {self.name}"


def forward(f: Any, *inputs: Any, **names: Any) -> Body:
    """Return a call without gradients."""
    arguments = ", ".join(f"x{i}" for i in range(len(inputs)))
    return f"f({arguments})", {"f": f, **{f"x{i}": x for i, x in enumerate(inputs)}, **names}


def with_backward(torch: Any, f: Any, *inputs: Any, parameters: tuple[Any, ...] = ()) -> Body:
    """Return a call and its gradients by every floating-point input and the parameters."""
    leaves = [x.requires_grad_() for x in inputs if x.is_floating_point()] + list(parameters)
    output = f(*inputs)
    output = output[0] if isinstance(output, tuple) else output
    seed = torch.ones_like(output)

    def step() -> Any:
        output = f(*inputs)
        output = output[0] if isinstance(output, tuple) else output
        return torch.autograd.grad(output, leaves, seed)

    return "step()", {"step": step}


def training_step(model: Any, criterion: Any, optimizer: Any, x: Any, y: Any) -> Callable[[], Any]:
    """Return the usual five lines as a function."""

    def step() -> Any:
        optimizer.zero_grad()
        output = model(x)
        loss = criterion(output, y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def size_name(count: int) -> str:
    """Return `2^20` for a power of two, the plain number otherwise."""
    exact = count & (count - 1) == 0
    return f"2^{count.bit_length() - 1}" if exact else str(count)
