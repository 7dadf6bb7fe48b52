"""A temporal convolutional network with dilations, weight_norm and a custom autograd function."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

torch.manual_seed(5)


class Chomp1d(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, x):
        return x[:, :, : -self.n].contiguous()


class Block(nn.Module):
    def __init__(self, cin, cout, dilation):
        super().__init__()
        pad = 2 * dilation
        self.net = nn.Sequential(
            weight_norm(nn.Conv1d(cin, cout, 3, padding=pad, dilation=dilation)),
            Chomp1d(pad),
            nn.ReLU(),
            nn.Dropout(0.0),
        )
        self.down = nn.Conv1d(cin, cout, 1) if cin != cout else None

    def forward(self, x):
        res = x if self.down is None else self.down(x)
        return F.relu(self.net(x) + res)


net = nn.Sequential(*[Block(1 if i == 0 else 8, 8, 2**i) for i in range(3)], nn.Conv1d(8, 1, 1))
t = torch.linspace(0, 12, 200)
series = torch.sin(t) + 0.3 * torch.cos(3 * t)
windows = series.unfold(0, 33, 8)
x, y = windows[:, None, :-1], windows[:, None, 1:]
opt = torch.optim.RMSprop(net.parameters(), lr=5e-3)
sched = torch.optim.lr_scheduler.StepLR(opt, 20, 0.5)
losses = []
for _ in range(40):
    loss = F.mse_loss(net(x)[..., 8:], y[..., 8:])
    opt.zero_grad()
    loss.backward()
    opt.step()
    sched.step()
    losses.append(loss.item())
print(" ".join(f"{v:.4f}" for v in losses[:5]))
assert losses[-1] < 0.3 * losses[0], losses


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.log_g = nn.Parameter(torch.zeros(4, 1))

    def forward(self, v):
        return v / v.norm(dim=1, keepdim=True) * self.log_g.exp()


lin = nn.Linear(3, 4)
parametrize.register_parametrization(lin, "weight", Scale())
print(sorted(dict(lin.named_parameters())), lin.weight.norm(dim=1).detach())
lin(torch.ones(2, 3)).sum().backward()
print([p.grad is not None for p in lin.parameters()])
