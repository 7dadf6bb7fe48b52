"""Tell two spirals apart: a data set of one's own, read by worker processes.

A PyTorch script: run it with `python` where PyTorch is installed, or with `flambeau run`.
"""

import argparse
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Spirals(Dataset):
    """Points on two interleaved spirals, made when they are asked for, with their spiral's number."""

    def __init__(self, count, noise=0.02, seed=0, transform=None):
        self.count = count
        self.noise = noise
        self.seed = seed
        self.transform = transform

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(self.seed * self.count + index)
        label = index % 2
        turn = torch.rand((), generator=generator) * 2 * math.pi + 0.5
        angle = turn + label * math.pi
        point = torch.stack([angle.cos(), angle.sin()]) * turn / (2 * math.pi + 0.5)
        point = point + self.noise * torch.randn(2, generator=generator)
        if self.transform is not None:
            point = self.transform(point)
        return {"point": point, "label": label}


def add_features(point):
    """Add the distance from the middle to the coordinates."""
    return torch.cat([point, point.norm().reshape(1)])


def measure_accuracy(model, loader):
    correct = 0
    model.eval()
    with torch.no_grad():
        for batch in loader:
            correct += (model(batch["point"]).argmax(dim=1) == batch["label"]).sum().item()
    return correct / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()

    torch.manual_seed(0)
    train = Spirals(1000, seed=1, transform=add_features)
    test = Spirals(400, seed=2, transform=add_features)
    workers = {"num_workers": args.workers, "persistent_workers": args.workers > 0}
    train_loader = DataLoader(train, batch_size=50, shuffle=True, **workers)
    test_loader = DataLoader(test, batch_size=200)

    model = nn.Sequential(
        nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for epoch in range(1, args.epochs + 1):
        model.train()
        for batch in train_loader:
            loss = F.cross_entropy(model(batch["point"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 0 or epoch == args.epochs:
            accuracy = measure_accuracy(model, test_loader)
            print(f"epoch {epoch:2d}  loss {loss.item():.4f}  test accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
