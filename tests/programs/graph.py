"""Graph networks with index_add_, scatter and attention; triplet learning."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(7)


class GCNLayer(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.lin = nn.Linear(i, o, bias=False)
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x, edge_index):
        row, col = edge_index
        deg = torch.zeros(x.size(0)).scatter_add_(0, col, torch.ones(col.numel()))
        inv = deg.pow(-0.5)
        inv[inv == float("inf")] = 0
        norm = inv[row] * inv[col]
        h = self.lin(x)
        out = torch.zeros_like(h)
        out.index_add_(0, col, norm.unsqueeze(-1) * h[row])
        return out + self.bias


class GATLayer(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.lin = nn.Linear(i, o)
        self.a = nn.Parameter(torch.empty(2, o))
        nn.init.xavier_uniform_(self.a)

    def forward(self, x, edge_index):
        row, col = edge_index
        h = self.lin(x)
        e = F.leaky_relu((h[row] * self.a[0]).sum(-1) + (h[col] * self.a[1]).sum(-1), 0.2)
        top = torch.full((x.size(0),), -1e9).scatter_reduce(0, col, e.detach(), reduce="amax")
        w = (e - top[col]).exp()
        w = w / torch.zeros(x.size(0)).index_add(0, col, w)[col]
        idx = col.unsqueeze(-1).expand(-1, h.size(1))
        return torch.zeros_like(h).scatter_add(0, idx, w.unsqueeze(-1) * h[row])


n = 24
labels = torch.arange(n) // 12
dense = (torch.rand(n, n) < torch.where(labels[:, None] == labels, 0.5, 0.05)).float()
dense = ((dense + dense.t()) > 0).float().fill_diagonal_(1)
edge_index = dense.nonzero().t()
x = torch.randn(n, 8)
train = torch.zeros(n, dtype=torch.bool)
train[[0, 3, 6, 12, 15, 18]] = True


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.c2 = GCNLayer(8, 16), GATLayer(16, 2)

    def forward(self, x, e):
        x = F.dropout(F.elu(self.c1(x, e)), p=0.2, training=self.training)
        return F.log_softmax(self.c2(x, e), dim=1)


model = Net()
opt = torch.optim.Adam(model.parameters(), lr=0.05, weight_decay=5e-4)
losses = []
for _ in range(40):
    model.train()
    opt.zero_grad()
    loss = F.nll_loss(model(x, edge_index)[train], labels[train])
    loss.backward()
    opt.step()
    losses.append(loss.item())
print(" ".join(f"{v:.4f}" for v in losses[:5]))
model.eval()
acc = (model(x, edge_index).argmax(-1) == labels)[~train].float().mean()
assert losses[-1] < 0.2 * losses[0] and acc > 0.7, (losses[-1], acc)

embed = nn.Sequential(nn.Linear(8, 16), nn.PReLU(), nn.Linear(16, 4))
opt = torch.optim.Adagrad(embed.parameters(), lr=0.1)
triplet = nn.TripletMarginLoss(margin=1.0, p=2)
cosine = nn.CosineEmbeddingLoss(margin=0.1)
data = x + 2 * labels[:, None]
for step in range(20):
    a, p, q = data[:6], data[6:12], data[12:18]
    e = F.normalize(embed(a), dim=1), F.normalize(embed(p), dim=1), F.normalize(embed(q), dim=1)
    loss = (
        triplet(*e) + cosine(e[0], e[2], -torch.ones(6)) + (1 - F.cosine_similarity(*e[:2])).mean()
    )
    opt.zero_grad()
    loss.backward()
    opt.step()
    if step < 3:
        print(f"triplet {loss.item():.4f}")
assert loss.item() < 0.5
d = torch.cdist(embed(data), embed(data))
print(d.shape, bool(d[:12, :12].mean() < d[:12, 12:].mean()))
