"""A variational autoencoder with the reparameterisation trick."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

torch.manual_seed(3)


class VAE(nn.Module):
    def __init__(self, n=64, hidden=32, z=4):
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(n, hidden), nn.ReLU())
        self.mu, self.logvar = nn.Linear(hidden, z), nn.Linear(hidden, z)
        self.dec = nn.Sequential(
            nn.Linear(z, hidden), nn.ReLU(), nn.Linear(hidden, n), nn.Sigmoid()
        )

    def reparameterize(self, mu, logvar):
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def forward(self, x):
        h = self.enc(x.view(-1, 64))
        mu, logvar = self.mu(h), self.logvar(h)
        return self.dec(self.reparameterize(mu, logvar)), mu, logvar


def loss_function(recon, x, mu, logvar):
    bce = F.binary_cross_entropy(recon, x.view(-1, 64), reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij"))
centres = torch.rand(128, 2) * 7
images = torch.exp(-((grid[None] - centres[:, :, None, None]) ** 2).sum(1) / 4).unsqueeze(1)
dataset = TensorDataset(images, centres)
train, test = random_split(dataset, [96, 32], generator=torch.Generator().manual_seed(1))
loader = DataLoader(train, batch_size=32, shuffle=True)
test_loader = DataLoader(test, batch_size=32)
model = VAE()
opt = torch.optim.Adam(model.parameters(), lr=5e-3)
totals = []
for epoch in range(15):
    model.train()
    total = 0
    for x, _ in loader:
        opt.zero_grad()
        recon, mu, logvar = model(x)
        loss = loss_function(recon, x, mu, logvar)
        loss.backward()
        total += loss.item()
        opt.step()
    totals.append(total / len(train))
print(" ".join(f"{t:.3f}" for t in totals[:4]))
assert totals[-1] < 0.8 * totals[0]
model.eval()
with torch.no_grad():
    for x, _ in test_loader:
        recon, mu, logvar = model(x)
        value = loss_function(recon, x, mu, logvar).item() / len(x)
assert value < 0.9 * totals[0]
sample = model.dec(torch.randn(4, 4)).cpu().view(4, 1, 8, 8)
assert not recon.requires_grad and sample.requires_grad
print(sample.shape, bool(((sample >= 0) & (sample <= 1)).all()))
