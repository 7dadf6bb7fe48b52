"""Derivatives of derivatives: MAML, a neural ODE, Hessians, custom functions."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.autograd import Function, gradcheck

torch.manual_seed(2)
net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
params = list(net.parameters())


def forward(ps, x):
    return F.linear(torch.tanh(F.linear(x, ps[0], ps[1])), ps[2], ps[3])


meta = torch.optim.Adam(params, lr=1e-2)
for it in range(15):
    total = torch.zeros(())
    for _ in range(2):
        amp, phase = torch.rand(1) * 4 + 0.5, torch.rand(1) * math.pi
        x = torch.empty(10, 1).uniform_(-5, 5)
        y = amp * torch.sin(x + phase)
        fast = params
        for _ in range(2):
            loss = F.mse_loss(forward(fast, x[:5]), y[:5])
            g = torch.autograd.grad(loss, fast, create_graph=True)
            fast = [p - 0.02 * gi for p, gi in zip(fast, g)]
        total = total + F.mse_loss(forward(fast, x[5:]), y[5:])
    meta.zero_grad()
    total.backward()
    meta.step()
    if it < 4:
        print(f"meta {total.item():.4f} {params[0].grad.norm().item():.4f}")


class ODEFunc(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)

    def forward(self, t, y):
        return self.net(y**3)


def rk4(f, y0, ts):
    ys = [y0]
    for t0, t1 in zip(ts[:-1], ts[1:]):
        h, y = t1 - t0, ys[-1]
        k1 = f(t0, y)
        k2 = f(t0 + h / 2, y + h / 2 * k1)
        k3 = f(t0 + h / 2, y + h / 2 * k2)
        k4 = f(t1, y + h * k3)
        ys.append(y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
    return torch.stack(ys)


A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
ts = torch.linspace(0, 1.5, 12)
y0 = torch.tensor([[2.0, 0.0]])
with torch.no_grad():
    truth = rk4(lambda t, y: torch.mm(y**3, A), y0, ts)
func = ODEFunc()
opt = torch.optim.RMSprop(func.parameters(), lr=1e-2)
first = None
for it in range(25):
    opt.zero_grad()
    loss = (rk4(func, y0, ts) - truth).abs().mean()
    loss.backward()
    opt.step()
    first = first or loss.item()
    if it < 3:
        print(f"ode {loss.item():.4f}")
assert loss.item() < first


class LegendrePolynomial3(Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input**3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input**2 - 1)


class StraightThrough(Function):
    @staticmethod
    def forward(ctx, x, levels):
        ctx.mark_non_differentiable()
        return torch.round(x * levels) / levels

    @staticmethod
    def backward(ctx, g):
        return g, None


x = torch.linspace(-math.pi, math.pi, 200, dtype=torch.float)
y = torch.sin(x)
a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3))
for t in range(60):
    loss = (a + b * LegendrePolynomial3.apply(c + d * x) - y).pow(2).sum()
    loss.backward()
    with torch.no_grad():
        for p in (a, b, c, d):
            p -= 5e-5 * p.grad
            p.grad = None
print(f"legendre {loss.item():.3f} y = {a.item():.4f} + {b.item():.4f}")
q = torch.randn(4, requires_grad=True)
StraightThrough.apply(q, 8).sum().backward()
print(q.grad)
assert gradcheck(
    LegendrePolynomial3.apply, (torch.randn(3, dtype=torch.double, requires_grad=True),)
)
f = lambda x: (x[0] ** 2 * x[1] + x[1] ** 3).sum()
print(torch.autograd.functional.hessian(f, torch.tensor([1.0, 2.0])))
print(torch.autograd.functional.jacobian(lambda x: x.exp(), torch.tensor([0.0, 1.0])))
u, v = torch.autograd.functional.jvp(lambda x: x.sin(), torch.ones(2), torch.ones(2))
print(u, v)
