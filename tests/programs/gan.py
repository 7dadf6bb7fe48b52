"""GAN steps with detach, spectral norm, weight init by class name and two optimisers."""

import torch
import torch.nn as nn

torch.manual_seed(999)


def weights_init(m):
    name = m.__class__.__name__
    if name.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.02)
    elif name.find("BatchNorm") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)


G = nn.Sequential(
    nn.ConvTranspose2d(8, 16, 4, 1, 0, bias=False),
    nn.BatchNorm2d(16),
    nn.ReLU(True),
    nn.ConvTranspose2d(16, 1, 4, 2, 1, bias=False),
    nn.Tanh(),
)
D = nn.Sequential(
    nn.Conv2d(1, 8, 4, 2, 1, bias=False),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(8, 16, 3, 1, 1, bias=False),
    nn.BatchNorm2d(16),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(16, 1, 4, 1, 0, bias=False),
    nn.Sigmoid(),
)
G.apply(weights_init)
D.apply(weights_init)
criterion = nn.BCELoss()
opt_d = torch.optim.Adam(D.parameters(), lr=2e-3, betas=(0.5, 0.999))
opt_g = torch.optim.Adam(G.parameters(), lr=2e-3, betas=(0.5, 0.999))
fixed = torch.randn(4, 8, 1, 1)
for step in range(12):
    real = torch.sign(torch.randn(16, 1, 1, 1)) * torch.ones(16, 1, 8, 8) * 0.9
    D.zero_grad()
    label = torch.full((16,), 1.0, dtype=torch.float)
    err_real = criterion(D(real).view(-1), label)
    err_real.backward()
    fake = G(torch.randn(16, 8, 1, 1))
    label.fill_(0.0)
    err_fake = criterion(D(fake.detach()).view(-1), label)
    err_fake.backward()
    assert all(p.grad is None for p in G.parameters()) or step
    opt_d.step()
    G.zero_grad()
    label.fill_(1.0)
    err_g = criterion(D(fake).view(-1), label)
    err_g.backward()
    opt_g.step()
    if step < 5:
        print(f"D {(err_real + err_fake).item():.4f} G {err_g.item():.4f}")
assert (err_real + err_fake).item() < 1.3
with torch.no_grad():
    images = G(fixed).detach().cpu()
print(images.shape, images.abs().max().item() <= 1)

# Gradient penalty: a derivative of a derivative.
critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Softplus(), nn.Linear(16, 1))
alpha = torch.rand(16, 1, 1, 1)
mixed = (alpha * real + (1 - alpha) * fake.detach()).requires_grad_(True)
score = critic(mixed)
(grad,) = torch.autograd.grad(score, mixed, torch.ones_like(score), create_graph=True)
penalty = ((grad.view(16, -1).norm(2, dim=1) - 1) ** 2).mean()
penalty.backward()
print(f"{penalty.item():.4f} {critic[1].weight.grad.norm().item():.4f}")
sn = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 4))
for _ in range(20):
    sn(torch.ones(1, 6))
print(f"{torch.linalg.matrix_norm(sn.weight, 2).item():.3f}")
