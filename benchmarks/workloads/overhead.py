"""Small tensors and small networks: the time is the framework's own."""

from typing import Any

from .common import Body, Build, Workload, training_step

OPTIMIZERS = {
    "SGD": {"lr": 1e-3},
    "SGD momentum": {"lr": 1e-3, "momentum": 0.9, "nesterov": True},
    "Adam": {"lr": 1e-3},
    "AdamW": {"lr": 1e-3},
    "RMSprop": {"lr": 1e-3},
    "Adagrad": {"lr": 1e-3},
    "Adadelta": {"lr": 1e-3},
    "Adamax": {"lr": 1e-3},
    "NAdam": {"lr": 1e-3},
    "RAdam": {"lr": 1e-3},
    "Rprop": {"lr": 1e-3},
    "ASGD": {"lr": 1e-3},
}


def statement(text: str, grad: bool = False, **shapes: Any) -> Build:
    """Return a statement on normal variates named by the keywords; `torch` and `F` are there."""

    def build(torch: Any) -> Body:
        names = {name: torch.randn(*shape) for name, shape in shapes.items()}
        if grad:
            for x in names.values():
                x.requires_grad_()
        return text, {"torch": torch, "F": torch.nn.functional, **names}

    return build


def mask_select(torch: Any) -> Body:
    """Return a selection by a mask of the same size."""
    x = torch.randn(64)
    return "x[mask]", {"x": x, "mask": x > 0}


def index_select(torch: Any) -> Body:
    """Return a selection by an index tensor."""
    return "x[i]", {"x": torch.randn(64, 8), "i": torch.randint(0, 64, (32,))}


def indexed(text: str, grad: bool = False) -> Build:
    """Return a statement on a 4x4 tensor `a`, another `b`, and three row numbers `i`."""

    def build(torch: Any) -> Body:
        names = {"a": torch.randn(4, 4, requires_grad=grad), "b": torch.randn(4, 4)}
        i = torch.tensor([0, 2, 1])
        return text, {"torch": torch, "F": torch.nn.functional, "i": i, "j": i[:, None], **names}

    return build


def scalar_loop(torch: Any) -> Body:
    """Return a loop that sums a vector's elements in Python."""
    x = torch.randn(20)

    def f() -> Any:
        total = 0.0
        for i in range(20):
            total = total + x[i]
        return total

    return "loop()", {"loop": f}


def no_grad_block(torch: Any) -> Body:
    """Return the entry into and exit from `no_grad`."""
    return "with torch.no_grad(): pass", {"torch": torch}


def custom_function(torch: Any) -> Body:
    """Return forward and backward of a user's autograd.Function."""

    class Square(torch.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 2 * x * grad

    return "f(x).sum().backward()", {"f": Square.apply, "x": torch.randn(10, requires_grad=True)}


def embedding_small(torch: Any) -> Body:
    """Return a lookup of 8 rows, with a graph."""
    weight = torch.randn(100, 16, requires_grad=True)
    f = torch.nn.functional.embedding
    return "f(i, w)", {"f": f, "i": torch.randint(0, 100, (8,)), "w": weight}


def from_numpy(torch: Any) -> Body:
    """Return the way from NumPy and back."""
    import numpy as np

    array = np.zeros((4, 4), dtype=np.float32)
    return "torch.from_numpy(a).numpy()", {"torch": torch, "a": array}


def module_call(torch: Any) -> Body:
    """Return the call of one small layer, no graph."""
    layer = torch.nn.Linear(4, 4)
    for p in layer.parameters():
        p.requires_grad_(False)
    return "layer(x)", {"layer": layer, "x": torch.randn(1, 4)}


def perceptron(torch: Any) -> Any:
    """Return a two-layer network."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 1))


def perceptron_step(optimizer: str) -> Build:
    """Return a training step of the two-layer network under an optimiser."""

    def build(torch: Any) -> Body:
        model = perceptron(torch)
        kind = getattr(torch.optim, optimizer.split()[0])
        optim = kind(model.parameters(), **OPTIMIZERS[optimizer])
        x, y = torch.randn(32, 10), torch.randn(32, 1)
        return training_step(model, torch.nn.MSELoss(), optim, x, y)

    return build


def inference(torch: Any) -> Body:
    """Return one forward pass of the two-layer network without gradients."""
    model = perceptron(torch).eval()
    x = torch.randn(1, 10)

    def step() -> Any:
        with torch.inference_mode():
            return model(x)

    return "step()", {"step": step}


def cell_loop(kind: str) -> Build:
    """Return 16 steps of a recurrent cell in a Python loop, with backward."""

    def build(torch: Any) -> Body:
        cell = getattr(torch.nn, kind)(16, 32)
        xs = torch.randn(16, 8, 16)

        def step() -> Any:
            cell.zero_grad()
            state = None
            for x in xs:
                state = cell(x, state)
            last = state[0] if isinstance(state, tuple) else state
            last.sum().backward()
            return last

        return "step()", {"step": step}

    return build


def q_network(torch: Any) -> Any:
    """Return the value network of the DQN tutorial."""
    nn = torch.nn
    return nn.Sequential(
        nn.Linear(4, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2)
    )


def dqn_step(torch: Any) -> Body:
    """Return a step of deep Q-learning: two networks, gather, Huber loss, clipping, soft update."""
    policy, target = q_network(torch), q_network(torch)
    target.load_state_dict(policy.state_dict())
    optim = torch.optim.AdamW(policy.parameters(), lr=1e-4, amsgrad=True)
    state, following = torch.randn(128, 4), torch.randn(128, 4)
    action, reward = torch.randint(0, 2, (128, 1)), torch.randn(128)
    criterion = torch.nn.SmoothL1Loss()

    def step() -> Any:
        values = policy(state).gather(1, action)
        with torch.no_grad():
            expected = target(following).max(1).values * 0.99 + reward
        loss = criterion(values, expected.unsqueeze(1))
        optim.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy.parameters(), 100)
        optim.step()
        with torch.no_grad():
            for a, b in zip(target.parameters(), policy.parameters(), strict=True):
                a.mul_(0.995).add_(b, alpha=0.005)
        return loss

    return "step()", {"step": step}


def act_greedily(torch: Any) -> Body:
    """Return the choice of an action: one state through the value network to a Python int."""
    policy, state = q_network(torch), torch.randn(4)

    def step() -> int:
        with torch.no_grad():
            return policy(state.unsqueeze(0)).max(1).indices.item()

    return "step()", {"step": step}


def with_gradients(torch: Any) -> Any:
    """Return the two-layer network after one backward pass."""
    model = perceptron(torch)
    model(torch.randn(32, 10)).sum().backward()
    return model


def clip_norm(torch: Any) -> Body:
    """Return one call of clip_grad_norm_."""
    model = with_gradients(torch)
    f = torch.nn.utils.clip_grad_norm_
    return "f(parameters, 1.0)", {"f": f, "parameters": list(model.parameters())}


def zero_grad(torch: Any) -> Body:
    """Return one call of the optimiser's zero_grad with gradients kept as zeros."""
    optim = torch.optim.SGD(with_gradients(torch).parameters(), lr=0.1)
    return "f(set_to_none=False)", {"f": optim.zero_grad}


def scheduler_step(torch: Any) -> Body:
    """Return one step of a cosine schedule."""
    optim = torch.optim.SGD(with_gradients(torch).parameters(), lr=0.1)
    optim.step()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optim, T_max=1000)
    return "schedule()", {"schedule": scheduler.step}


def penalised_step(torch: Any) -> Body:
    """Return a second-order step: the norm of the parameters' gradients goes backward."""
    nn = torch.nn
    model = nn.Sequential(nn.Linear(10, 50), nn.Tanh(), nn.Linear(50, 1))
    parameters, x = list(model.parameters()), torch.randn(32, 10)

    def step() -> Any:
        loss = model(x).pow(2).mean()
        grads = torch.autograd.grad(loss, parameters, create_graph=True)
        penalty = sum(g.pow(2).sum() for g in grads)
        penalty.backward()
        return penalty

    return "step()", {"step": step}


def small_layer(make: str, *shape: int) -> Build:
    """Return forward and backward of a layer on a tiny input."""

    def build(torch: Any) -> Body:
        layer = eval(make, {"nn": torch.nn})
        x = torch.randn(*shape, requires_grad=True)

        def step() -> Any:
            out = layer(x)
            loss = (out[0] if isinstance(out, tuple) else out).sum()
            loss.backward()
            return loss

        return "step()", {"step": step}

    return build


def classify(torch: Any) -> Body:
    """Return cross entropy of four rows, with backward."""
    logits, labels = torch.randn(4, 4, requires_grad=True), torch.tensor([1, 0, 2, 3])
    f = torch.nn.functional.cross_entropy
    return "f(x, y).backward()", {"f": f, "x": logits, "y": labels}


def average_weights(torch: Any) -> Body:
    """Return an exponential moving average over a network's parameters."""
    model = perceptron(torch)
    new = [p.detach() for p in model.parameters()]
    mean = [p.clone() for p in new]

    def step() -> None:
        for m, p in zip(mean, new, strict=True):
            m.mul_(0.99).add_(p, alpha=0.01)

    return "step()", {"step": step}


def rows() -> dict[str, Build]:
    """Return the builders by name."""
    ten = {"a": (10,), "b": (10,)}
    square = {"a": (4, 4), "b": (4, 4)}
    return {
        "a + b, 10 elements": statement("a + b", **ten),
        "a + b, with grad": statement("a + b", grad=True, **ten),
        "a.add_(b)": statement("a.add_(b)", **ten),
        "a * 2": statement("a * 2", **ten),
        "a > b": statement("a > b", **ten),
        "broadcast (4,1) + (1,4)": statement("a + b", a=(4, 1), b=(1, 4)),
        "where": statement("torch.where(c > 0, a, b)", a=(10,), b=(10,), c=(10,)),
        "relu": statement("F.relu(a)", **ten),
        "exp, with grad": statement("a.exp()", grad=True, **ten),
        "sum": statement("a.sum()", **ten),
        "mean over a dimension": statement("a.mean(1)", **square),
        "max over a dimension": statement("a.max(1)", **square),
        "argmax": statement("a.argmax()", **ten),
        "softmax (4,4)": statement("F.softmax(a, -1)", **square),
        "layer_norm (4,4)": statement("F.layer_norm(a, (4,))", **square),
        "matrix product 4x4": statement("a @ b", **square),
        "matrix product 4x4, with grad": statement("a @ b", grad=True, **square),
        "linear (1,4)": statement("F.linear(x, w, b)", x=(1, 4), w=(4, 4), b=(4,)),
        "cat": statement("torch.cat((a, b))", **ten),
        "stack": statement("torch.stack((a, b))", **ten),
        "reshape": statement("a.reshape(2, 8)", **square),
        "transpose": statement("a.t()", **square),
        "unsqueeze": statement("a[:, None]", **ten),
        "chunk": statement("a.chunk(2)", **square),
        "clone": statement("a.clone()", **ten),
        "detach": statement("a.detach()", grad=True, **ten),
        "x[2]": statement("a[2]", **ten),
        "x[1, 2]": statement("a[1, 2]", **square),
        "x[1:3]": statement("a[1:3]", **ten),
        "x[2] = 1.0": statement("a[2] = 1.0", **ten),
        "x[mask]": mask_select,
        "x[indices]": index_select,
        "embedding, with grad": embedding_small,
        "scalar loop over 20 elements": scalar_loop,
        "item()": statement("a[0].item()", **ten),
        "tolist()": statement("a.tolist()", **ten),
        "tensor(3.0)": statement("torch.tensor(3.0)"),
        "tensor([1, 2, 3])": statement("torch.tensor([1, 2, 3])"),
        "zeros(4, 4)": statement("torch.zeros(4, 4)"),
        "randn(4, 4)": statement("torch.randn(4, 4)"),
        "arange(10)": statement("torch.arange(10)"),
        "a.uniform_()": statement("a.uniform_()", **ten),
        "from_numpy().numpy()": from_numpy,
        "with no_grad()": no_grad_block,
        "((a*b)+b).sum().backward()": statement("((a * b) + b).sum().backward()", grad=True, **ten),
        "autograd.grad of a product": statement(
            "torch.autograd.grad((a * b).sum(), (a, b))", grad=True, **ten
        ),
        "autograd.Function, with backward": custom_function,
        "Linear module call": module_call,
        "MLP inference, one row": inference,
        **{f"MLP step, {name}": perceptron_step(name) for name in OPTIMIZERS},
        "GRUCell loop, 16 steps, with backward": cell_loop("GRUCell"),
        "LSTMCell loop, 16 steps, with backward": cell_loop("LSTMCell"),
        "DQN step": dqn_step,
        "DQN action": act_greedily,
        "clip_grad_norm_": clip_norm,
        "zero_grad(set_to_none=False)": zero_grad,
        "CosineAnnealingLR.step": scheduler_step,
        "einsum ij,jk->ik": statement("torch.einsum('ij,jk->ik', a, b)", **square),
        "tril": statement("a.tril()", **square),
        "movedim": statement("a.movedim(0, 1)", **square),
        "diagonal": statement("a.diagonal()", **square),
        "roll": statement("a.roll(1)", **square),
        "cumsum": statement("a.cumsum(0)", **square),
        "topk": statement("a.topk(3)", **ten),
        "pad": statement("F.pad(a, (1, 1))", **square),
        "cat, with grad": statement("torch.cat((a, b))", grad=True, **ten),
        "randint": statement("torch.randint(0, 10, (4,))"),
        "multinomial": statement("torch.multinomial(a.abs(), 2)", **ten),
        "one_hot": indexed("F.one_hot(i, 4)"),
        "scatter_": indexed("a.scatter_(1, j, 1.0)"),
        "index_add_": indexed("a.index_add_(0, i, b[:3])"),
        "x[i, i], with backward": indexed("a[i, i].sum().backward()", grad=True),
        "gather, with backward": indexed("a.gather(1, j).sum().backward()", grad=True),
        "cross_entropy, with backward": classify,
        "Conv2d layer, with backward": small_layer("nn.Conv2d(2, 3, 3)", 1, 2, 6, 6),
        "LSTM layer, with backward": small_layer("nn.LSTM(4, 8)", 2, 3, 4),
        "weight average": average_weights,
        "second-order step of an MLP": penalised_step,
        **tables_and_checks(),
    }


def tables_and_checks() -> dict[str, Build]:
    """Return ops that need tables of their own, or look at elements before they compute."""
    square, ten = {"a": (4, 4)}, {"a": (10,)}
    regular = "a @ a.t() + e"
    system = {"a": (4, 4), "e": (4, 4), "b": (4, 4)}
    return {
        "eye": statement("torch.eye(3)"),
        "linspace": statement("torch.linspace(0, 1, 10)"),
        "tril_indices": statement("torch.tril_indices(4, 4)"),
        "fftfreq": statement("torch.fft.fftfreq(10)"),
        "fftshift": statement("torch.fft.fftshift(a)", **ten),
        "triu, with backward": statement("a.triu().sum().backward()", grad=True, **square),
        "take_along_dim": indexed("torch.take_along_dim(a[:3], j, 1)"),
        "bincount": indexed("torch.bincount(i)"),
        "isin": indexed("torch.isin(i, i)"),
        "combinations": statement("torch.combinations(a)", **ten),
        "histc": statement("torch.histc(a)", **ten),
        "mode": statement("a.mode()", **square),
        "det of a 4x4 product": statement(f"torch.linalg.det({regular})", **system),
        "inv_ex of a 4x4 product": statement(f"torch.linalg.inv_ex({regular})", **system),
        "nll_loss, each": indexed("F.nll_loss(a[:3], i, reduction='none')"),
        "cosine_similarity": statement("F.cosine_similarity(a, b)", a=(4, 4), b=(4, 4)),
        "pixel_shuffle": statement("F.pixel_shuffle(a, 2)", a=(1, 4, 2, 2)),
    }


TARGETS = {
    "a + b, 10 elements": 0.15,
    "a + b, with grad": 0.15,
    "((a*b)+b).sum().backward()": 0.06,
    "MLP step, SGD": 0.12,
    "MLP step, Adam": 0.12,
}

WORKLOADS = tuple(
    Workload("overhead", name, build, target=TARGETS.get(name, 1.0))
    for name, build in rows().items()
)
