"""The workloads: ordinary PyTorch code, where `torch` is either framework.

A workload builds what it needs and returns a statement with the names that it uses; the worker runs
the statement in a loop without a function call in between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Workload:
    """A row of the table; `target` is the greatest accepted ratio to PyTorch's time."""

    name: str
    target: float | None
    build: Callable[[Any], Body]


def add_small(torch: Any) -> Body:
    """Return `a + b` on 10 elements."""
    a, b = torch.randn(10), torch.randn(10)
    return "a + b", {"a": a, "b": b}


def add_small_grad(torch: Any) -> Body:
    """Return `a + b` on 10 elements with a graph."""
    a, b = torch.randn(10, requires_grad=True), torch.randn(10, requires_grad=True)
    return "a + b", {"a": a, "b": b}


def backward_small(torch: Any) -> Body:
    """Return a chain of three ops with its backward."""
    a, b = torch.randn(10, requires_grad=True), torch.randn(10, requires_grad=True)
    return "((a * b) + b).sum().backward()", {"a": a, "b": b}


def perceptron(optimizer: str) -> Callable[[Any], Body]:
    """Return the training step of a small two-layer network."""

    def build(torch: Any) -> Body:
        nn = torch.nn
        model = nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 1))
        optim = getattr(torch.optim, optimizer)(model.parameters(), lr=1e-3)
        return "step()", {
            "step": training_step(
                model, nn.MSELoss(), optim, torch.randn(32, 10), torch.randn(32, 1)
            )
        }

    return build


def training_step(model: Any, criterion: Any, optim: Any, x: Any, y: Any) -> Callable[[], Any]:
    """Return the usual five lines as a function."""

    def step() -> Any:
        optim.zero_grad()
        output = model(x)
        loss = criterion(output, y)
        loss.backward()
        optim.step()
        return loss

    return step


def loader_epoch(torch: Any) -> Body:
    """Return one shuffled epoch over 2000 rows in batches of 32."""
    data = torch.utils.data
    rows = data.TensorDataset(torch.randn(2000, 10), torch.randn(2000, 1))
    loader = data.DataLoader(rows, batch_size=32, shuffle=True)
    return "for x, y in loader: pass", {"loader": loader}


def unary(name: str) -> Callable[[Any], Body]:
    """Return an elementwise function on 2^20 elements."""

    def build(torch: Any) -> Body:
        return "f(x)", {"f": getattr(torch, name), "x": torch.rand(1 << 20) + 0.5}

    return build


def add_large(torch: Any) -> Body:
    """Return `a + b` on 2^24 elements."""
    a, b = torch.randn(1 << 24), torch.randn(1 << 24)
    return "a + b", {"a": a, "b": b}


def add_transposed(torch: Any) -> Body:
    """Return a sum with a transposed view."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    return "a + b.t()", {"a": a, "b": b}


def matmul(size: int) -> Callable[[Any], Body]:
    """Return the product of two square matrices."""

    def build(torch: Any) -> Body:
        a, b = torch.randn(size, size), torch.randn(size, size)
        return "a @ b", {"a": a, "b": b}

    return build


def tutorial_cnn(torch: Any) -> Any:
    """Return the network of the CIFAR-10 tutorial."""
    nn = torch.nn
    functional = torch.nn.functional

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x: Any) -> Any:
            x = self.pool(functional.relu(self.conv1(x)))
            x = self.pool(functional.relu(self.conv2(x)))
            x = torch.flatten(x, 1)
            x = functional.relu(self.fc1(x))
            x = functional.relu(self.fc2(x))
            return self.fc3(x)

    return Net()


def cnn_step(batch: int) -> Callable[[Any], Body]:
    """Return a training step of the tutorial network."""

    def build(torch: Any) -> Body:
        model = tutorial_cnn(torch)
        optim = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
        x, y = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
        return "step()", {"step": training_step(model, torch.nn.CrossEntropyLoss(), optim, x, y)}

    return build


WORKLOADS = (
    Workload("a + b, 10 elements", 0.15, add_small),
    Workload("a + b, 10 elements, with grad", 0.15, add_small_grad),
    Workload("((a*b)+b).sum().backward(), 10 elements", 0.06, backward_small),
    Workload("MLP 10-50-1 batch 32, SGD step", 0.12, perceptron("SGD")),
    Workload("MLP 10-50-1 batch 32, Adam step", 0.12, perceptron("Adam")),
    Workload("DataLoader epoch, 2000 rows, batch 32", 0.1, loader_epoch),
    Workload("exp, 2^20", 0.35, unary("exp")),
    Workload("tanh, 2^20", 0.35, unary("tanh")),
    Workload("sigmoid, 2^20", 0.35, unary("sigmoid")),
    Workload("log, 2^20", 0.35, unary("log")),
    Workload("a + b, 2^24", 0.5, add_large),
    Workload("a + b.t(), 2048^2", 0.2, add_transposed),
    Workload("matrix product 1024^3", 1.0, matmul(1024)),
    Workload("matrix product 64^3", 0.8, matmul(64)),
    Workload("tutorial CNN step, batch 4", 0.5, cnn_step(4)),
    Workload("tutorial CNN step, batch 64", 0.9, cnn_step(64)),
)
