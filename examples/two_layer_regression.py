"""Fit a curve with a network of two linear layers, in mini-batches shuffled every epoch.

A PyTorch script: run it with `python` where PyTorch is installed, or with `flambeau run`.
"""

import argparse
import math

import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset, random_split


def make_data(count=2000):
    """Noisy values of a smooth function of ten inputs."""
    x = torch.randn(count, 10)
    y = torch.sin(x[:, :3].sum(dim=1, keepdim=True)) + 0.5 * x[:, 3:4] * x[:, 4:5]
    return TensorDataset(x, y + 0.05 * torch.randn(count, 1))


class TwoLayerNet(nn.Module):
    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.output(torch.relu(self.hidden(x)))


def mean_loss(model, loader, criterion):
    with torch.no_grad():
        total = sum(criterion(model(x), y).item() * len(x) for x, y in loader)
    return total / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    train, test = random_split(make_data(), [1600, 400])
    train_loader = DataLoader(train, batch_size=32, shuffle=True)
    test_loader = DataLoader(test, batch_size=200)
    model = TwoLayerNet(10, 64, 1)
    criterion = nn.MSELoss()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.3)
    print(model)

    for epoch in range(1, args.epochs + 1):
        total = 0.0
        for x, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
        scheduler.step()
        if epoch % 10 == 0 or epoch == args.epochs:
            print(f"epoch {epoch:3d}  train loss {total / len(train):.5f}")

    test_loss = mean_loss(model, test_loader, criterion)
    print(f"test loss {test_loss:.5f}, root mean square error {math.sqrt(test_loss):.4f}")


if __name__ == "__main__":
    main()
