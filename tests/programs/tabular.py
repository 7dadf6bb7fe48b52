"""A tabular network: categorical embeddings, batch normalisation, dropout, workers."""

import copy

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler

torch.manual_seed(42)
rng = np.random.default_rng(0)


class Table(Dataset):
    def __init__(self, n):
        self.cat = rng.integers(0, 5, size=(n, 2))
        self.num = rng.normal(size=(n, 3)).astype(np.float32)
        self.y = (self.num[:, 0] * (self.cat[:, 0] - 2) + self.num[:, 1] > 0).astype(np.int64)

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return {"cat": self.cat[i], "num": self.num[i], "y": self.y[i]}


class EvenFirst(Sampler):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        n = len(self.data)
        yield from range(0, n, 2)
        yield from range(1, n, 2)

    def __len__(self):
        return len(self.data)


def collate(items):
    return (
        torch.stack([torch.from_numpy(i["cat"]) for i in items]),
        torch.stack([torch.as_tensor(i["num"]) for i in items]),
        torch.tensor([i["y"] for i in items]),
    )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeds = nn.ModuleList(nn.Embedding(5, 3) for _ in range(2))
        self.norm = nn.BatchNorm1d(3)
        self.body = nn.Sequential(
            nn.Linear(9, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Linear(32, 2),
        )

    def forward(self, cat, num):
        e = torch.cat([emb(cat[:, i]) for i, emb in enumerate(self.embeds)], dim=1)
        return self.body(torch.cat([e, self.norm(num)], 1))


def evaluate(model, loader):
    model.eval()
    correct = total = 0
    with torch.inference_mode():
        for batch in loader:
            pred = model(batch["cat"], batch["num"]).argmax(1)
            correct += (pred == batch["y"]).sum().item()
            total += batch["y"].size(0)
    return correct / total


if __name__ == "__main__":
    train, test = Table(256), Table(128)
    loader = DataLoader(
        train,
        batch_size=64,
        sampler=EvenFirst(train),
        collate_fn=collate,
        num_workers=2,
        persistent_workers=True,
    )
    model = Net()
    print(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    loss_fn = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 1.2]), label_smoothing=0.05)
    best, best_state = 0.0, None
    for epoch in range(15):
        model.train()
        running = 0.0
        for cat, num, y in loader:
            loss = loss_fn(model(cat, num), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item()
        scheduler.step(running)
        if epoch < 3:
            print(f"epoch {epoch} loss {running:.3f}")
        accuracy = evaluate(model, DataLoader(test, batch_size=64))
        if accuracy > best:
            best, best_state = accuracy, copy.deepcopy(model.state_dict())
    assert best > 0.75, best
    model.load_state_dict(best_state)
    assert evaluate(model, DataLoader(test, batch_size=50)) == best
    weights = torch.ones(256).double()
    drawn = list(WeightedRandomSampler(weights, 6, generator=torch.Generator().manual_seed(1)))
    print(drawn, len(set(drawn)))
    print(int(model.norm.num_batches_tracked) > 0, model.norm.running_mean.shape)
