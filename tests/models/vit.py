"""A small vision transformer (Dosovitskiy et al., 2020)."""

import torch
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(hidden, heads, dropout=0.0, batch_first=True)
        self.ln_2 = nn.LayerNorm(hidden, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden)
        )

    def forward(self, x):
        y = self.ln_1(x)
        y, _ = self.self_attention(y, y, y, need_weights=False)
        x = x + y
        return x + self.mlp(self.ln_2(x))


class VisionTransformer(nn.Module):
    def __init__(self, size=32, patch=8, hidden=48, heads=4, layers=3, classes=10):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, hidden, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden))
        count = (size // patch) ** 2 + 1
        self.pos_embedding = nn.Parameter(torch.empty(1, count, hidden).normal_(std=0.02))
        self.layers = nn.Sequential(*[Block(hidden, heads) for _ in range(layers)])
        self.ln = nn.LayerNorm(hidden, eps=1e-6)
        self.head = nn.Linear(hidden, classes)
        nn.init.trunc_normal_(self.conv_proj.weight, std=0.1)

    def forward(self, x):
        patches = self.conv_proj(x).flatten(2).permute(0, 2, 1)
        token = self.class_token.expand(x.shape[0], -1, -1)
        x = torch.cat([token, patches], dim=1) + self.pos_embedding
        return self.head(self.ln(self.layers(x))[:, 0])


def make():
    return VisionTransformer()


def inputs():
    return (torch.randn(2, 3, 32, 32),)
