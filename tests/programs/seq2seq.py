"""Transformer encoder and decoder, masks, sinusoidal positions; inference equals training graph."""

import math

import torch
import torch.nn as nn

torch.manual_seed(4)


class PositionalEncoding(nn.Module):
    def __init__(self, d, dropout=0.0, max_len=64):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div = torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        pe = torch.zeros(max_len, 1, d)
        pe[:, 0, 0::2] = torch.sin(position * div)
        pe[:, 0, 1::2] = torch.cos(position * div)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return self.dropout(x + self.pe[: x.size(0)])


class Seq2Seq(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.pos = nn.Embedding(12, 16), PositionalEncoding(16)
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0)
        self.out = nn.Linear(16, 12)

    def forward(self, src, tgt):
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.size(0))
        pad = (src == 0).transpose(0, 1)
        s, t = self.pos(self.embed(src) * 4), self.pos(self.embed(tgt) * 4)
        y = self.transformer(
            s, t, tgt_mask=mask, src_key_padding_mask=pad, memory_key_padding_mask=pad
        )
        return self.out(y)


model = Seq2Seq()
opt = torch.optim.Adam(model.parameters(), lr=5e-3, betas=(0.9, 0.98), eps=1e-9)
sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1.0, (s + 1) / 10))
criterion = nn.CrossEntropyLoss(ignore_index=0)
losses = []
src = torch.randint(2, 12, (6, 16))
src[4:, :4] = 0
for _ in range(40):
    tgt = torch.cat([torch.ones(1, 16, dtype=torch.long), src.flip(0)])
    logits = model(src, tgt[:-1])
    loss = criterion(logits.reshape(-1, 12), tgt[1:].reshape(-1))
    opt.zero_grad()
    loss.backward()
    opt.step()
    sched.step()
    losses.append(loss.item())
print(" ".join(f"{v:.4f}" for v in losses[:5]))
assert losses[-1] < 0.8 * losses[0]
layer = nn.TransformerEncoderLayer(
    d_model=16, nhead=4, dim_feedforward=32, batch_first=True, activation="gelu", norm_first=True
)
encoder = nn.TransformerEncoder(
    layer, num_layers=2, norm=nn.LayerNorm(16), enable_nested_tensor=False
)
x = torch.randn(3, 5, 16)
encoder.eval()
with torch.no_grad():
    a = encoder(x, src_key_padding_mask=torch.tensor([[False] * 4 + [True]] * 3))
print(a.shape, f"{a[:, :4].sum().item():.4f} {a[:, :4].norm().item():.4f}")
mha = nn.MultiheadAttention(16, 4, batch_first=True)
y, w = mha(x, x, x, average_attn_weights=False)
print(y.shape, w.shape, torch.allclose(w.sum(-1), torch.ones(())))
bias = torch.randn(5, 5)
q = torch.randn(2, 4, 5, 8)
o = nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=bias, dropout_p=0.0)
ref = torch.softmax(q @ q.transpose(-2, -1) / math.sqrt(8) + bias, -1) @ q
print(torch.allclose(o, ref, atol=1e-5))
