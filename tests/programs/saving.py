"""Saving, loading, copying and inspecting a model; hooks; freezing; EMA."""

import copy
import io
import os
import pickle
import tempfile
from collections import OrderedDict

import torch
import torch.nn as nn

torch.manual_seed(21)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(1, 4, 3), bn=nn.BatchNorm2d(4), act=nn.ReLU())
        )
        self.head = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 3)})
        self.scale = nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(2)])
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def forward(self, x, which="a"):
        self.steps += 1
        h = self.features(x).mean(dim=(2, 3))
        return self.head[which](h) * self.scale[0]


model = Model()
print(model)
print(list(model.state_dict()))
grabbed = {}
handle = model.features.bn.register_forward_hook(
    lambda m, i, o: grabbed.__setitem__("bn", o.detach())
)
grads = []
h2 = model.head["a"].register_full_backward_hook(lambda m, gi, go: grads.append(go[0].shape))
x = torch.randn(2, 1, 6, 6)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
handle.remove()
h2.remove()
print(grabbed["bn"].shape, grads)
seen = []
y = (x * 2).requires_grad_()
y.register_hook(lambda g: seen.append(g.shape))
model(y).sum().backward()
print(seen, model.steps)

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "checkpoint.pt")
    torch.save(
        {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "best": 0.5},
        path,
    )
    state = torch.load(path, map_location="cpu", weights_only=True)
    fresh = Model()
    print(fresh.load_state_dict(state["model"]))
    opt2 = torch.optim.Adam(fresh.parameters())
    opt2.load_state_dict(state["optimizer"])
    print(state["epoch"], opt2.param_groups[0]["lr"], len(opt2.state))
    torch.save(model, path)
    whole = torch.load(path, weights_only=False)
    whole.eval(), model.eval(), fresh.eval()
    assert torch.equal(whole(x), model(x)) and torch.equal(fresh(x), model(x))
clone = copy.deepcopy(model)
back = pickle.loads(pickle.dumps(model))
assert torch.equal(clone(x, "b"), back(x, "b"))
assert clone.head["a"].weight is not model.head["a"].weight
try:
    fresh.load_state_dict({"head.a.weight": torch.zeros(3, 3)})
except RuntimeError as error:
    print(error)
print(fresh.load_state_dict({"steps": torch.tensor(9)}, strict=False).missing_keys[:2])
for name, p in model.features.named_parameters():
    p.requires_grad = False
print([n for n, p in model.named_parameters() if p.requires_grad])
print(sum(p.numel() for p in model.parameters() if p.requires_grad))
ema = copy.deepcopy(model)
with torch.no_grad():
    for e, p in zip(ema.parameters(), model.parameters()):
        e.mul_(0.9).add_(p, alpha=0.1)
flat = nn.utils.parameters_to_vector(model.parameters())
nn.utils.vector_to_parameters(flat * 0.5, model.parameters())
print(flat.shape, torch.allclose(flat * 0.5, nn.utils.parameters_to_vector(model.parameters())))
buffer = io.BytesIO()
torch.save(torch.arange(4.0).requires_grad_(), buffer)
buffer.seek(0)
print(torch.load(buffer))
model.double()
print({p.dtype for p in model.parameters()}, model.steps.dtype)
for name, child in model.named_children():
    print(name, type(child).__name__)
print([n for n, _ in model.named_modules()])
try:
    model.missing
except AttributeError as error:
    print(error)
try:
    nn.Linear(3, 2)(torch.randn(4, 5))
except RuntimeError as error:
    print(type(error).__name__)
