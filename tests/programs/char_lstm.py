"""Character language models with an LSTM and a GRU, trained by truncated backpropagation."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

torch.manual_seed(0)
text = "hello world, this is a tiny corpus for a tiny model. " * 8
vocab = {c: i for i, c in enumerate(sorted(set(text)))}
ids = torch.tensor([vocab[c] for c in text])


class CharModel(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.embed = nn.Embedding(len(vocab), 16)
        self.rnn = getattr(nn, kind)(16, 32, num_layers=2, dropout=0.0, batch_first=True)
        self.out = nn.Linear(32, len(vocab))

    def forward(self, x, state=None):
        y, state = self.rnn(self.embed(x), state)
        return self.out(y), state


def detach(state):
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


seq = ids[: 8 * 48 + 1]
inputs, targets = seq[:-1].view(8, 48), seq[1:].view(8, 48)
for kind in ("LSTM", "GRU", "RNN"):
    model = CharModel(kind)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    criterion = nn.CrossEntropyLoss()
    history = []
    for _ in range(6):
        state = None
        for x, y in zip(inputs.split(12, dim=1), targets.split(12, dim=1)):
            optimizer.zero_grad()
            logits, state = model(x, state)
            loss = criterion(logits.reshape(-1, len(vocab)), y.reshape(-1))
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            state = detach(state)
            history.append(loss.item())
    print(kind, " ".join(f"{v:.4f}" for v in history[:5]))
    assert np.mean(history[-4:]) < 0.75 * history[0], history

lengths = [5, 3, 1]
padded = pad_sequence([torch.randn(n, 4) for n in lengths], batch_first=True)
packed = pack_padded_sequence(padded, lengths, batch_first=True)
lstm = nn.LSTM(4, 3, bidirectional=True, batch_first=True)
out, (h, c) = lstm(packed)
out, sizes = pad_packed_sequence(out, batch_first=True)
print(out.shape, sizes, f"{out.sum().item():.4f} {h.sum().item():.4f} {c.sum().item():.4f}")
cell = nn.LSTMCell(4, 3)
hx = cx = torch.zeros(3, 3)
for t in range(5):
    hx, cx = cell(padded[:, t], (hx, cx))
print(f"{hx.sum().item():.4f}")
