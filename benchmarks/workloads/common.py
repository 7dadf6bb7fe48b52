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
Maker = Callable[[Any], Any]
Makers = dict[str, Maker]


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


def function_of(text: str, backward: bool = False, **makers: Maker) -> Build:
    """Return a function of tensors that the keywords' functions make, maybe with its gradients.

    Its text may name the keywords, `torch` and `F`.
    """

    def build(torch: Any) -> Body:
        inputs = [make(torch) for make in makers.values()]
        scope = {"torch": torch, "F": torch.nn.functional}
        f = eval(f"lambda {', '.join(makers)}: {text}", scope)
        return with_backward(torch, f, *inputs) if backward else forward(f, *inputs)

    return build


def normal(*shape: int, dtype: str = "float32") -> Maker:
    """Return a maker of normal variates."""
    return lambda torch: torch.randn(*shape).to(getattr(torch, dtype))


def normals(names: str, shapes: tuple[tuple[int, ...], ...], dtype: str = "float32") -> Makers:
    """Return a maker of normal variates for each shape, by one-letter names."""
    return {name: normal(*shape, dtype=dtype) for name, shape in zip(names, shapes, strict=False)}


def integers(low: int, high: int, *shape: int) -> Maker:
    """Return a maker of integers from `low` up to below `high`."""
    return lambda torch: torch.randint(low, high, shape)


def loss_step(optimizer: Any, compute_loss: Callable[[], Any]) -> Body:
    """Return a training step on the loss that a function computes."""

    def step() -> Any:
        optimizer.zero_grad()
        loss = compute_loss()
        loss.backward()
        optimizer.step()
        return loss

    return "step()", {"step": step}


def training_step(model: Any, criterion: Any, optimizer: Any, x: Any, y: Any) -> Body:
    """Return the usual five lines as a step."""

    def step() -> Any:
        optimizer.zero_grad()
        output = model(x)
        loss = criterion(output, y)
        loss.backward()
        optimizer.step()
        return loss

    return "step()", {"step": step}


def size_name(count: int) -> str:
    """Return `2^20` for a power of two, the plain number otherwise."""
    exact = count & (count - 1) == 0
    return f"2^{count.bit_length() - 1}" if exact else str(count)
