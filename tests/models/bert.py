"""A small BERT (Devlin et al., 2018) of PyTorch's own transformer layers, with tied embeddings."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Embeddings(nn.Module):
    def __init__(self, words, length, hidden):
        super().__init__()
        self.word_embeddings = nn.Embedding(words, hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(length, hidden)
        self.token_type_embeddings = nn.Embedding(2, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=1e-12)
        self.dropout = nn.Dropout(0.1)
        self.register_buffer("position_ids", torch.arange(length).unsqueeze(0), persistent=False)

    def forward(self, ids, types):
        positions = self.position_ids[:, : ids.size(1)]
        x = self.word_embeddings(ids) + self.token_type_embeddings(types)
        return self.dropout(self.LayerNorm(x + self.position_embeddings(positions)))


class Bert(nn.Module):
    def __init__(self, words=50, length=16, hidden=32, heads=4, layers=3):
        super().__init__()
        self.embeddings = Embeddings(words, length, hidden)
        layer = nn.TransformerEncoderLayer(
            hidden, heads, 4 * hidden, 0.1, F.gelu, layer_norm_eps=1e-12, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pooler = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.transform = nn.Sequential(
            nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden, eps=1e-12)
        )
        self.decoder = nn.Linear(hidden, words)
        self.decoder.weight = self.embeddings.word_embeddings.weight
        self.next_sentence = nn.Linear(hidden, 2)
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()

    def forward(self, ids, types):
        padding = ids.eq(0)
        x = self.encoder(self.embeddings(ids, types), src_key_padding_mask=padding)
        words = self.decoder(self.transform(x))
        return torch.cat([words.flatten(1), self.next_sentence(self.pooler(x[:, 0]))], 1)


def make():
    return Bert()


def inputs():
    ids = torch.randint(1, 50, (3, 12))
    ids[1, 9:] = 0
    types = (torch.arange(12) > 6).long().expand(3, -1)
    return ids, types
