"""Everyday tensor idioms, printed."""

import numpy as np
import torch

torch.manual_seed(0)
x = torch.arange(12.0).reshape(3, 4)
print(x, x.T, x.mT.shape, x[1:, ::2], x[:, -1], x[..., None].shape)
print(x.shape, x.size(), x.size(0), x.dtype, x.device, x.layout, x.stride(), x.is_contiguous())
print(x.view(-1, 6), x.flatten(), x.permute(1, 0).contiguous().view(2, 6))
print(x[x > 5], x[[0, 2], [1, 3]], x[torch.tensor([0, 2])], x[:, [0, -1]])
print(torch.where(x > 5, x, torch.zeros_like(x)), torch.where(x > 10))
print(x.sum(), x.mean(0), x.max(dim=1), x.min().item(), x.argmax(), x.std(dim=0, unbiased=False))
v, i = torch.topk(x, 2, dim=1)
print(v, i)
s = torch.tensor([3, 1, 2, 3, 1])
print(
    torch.sort(s),
    s.argsort(descending=True, stable=True),
    torch.unique(s, return_inverse=True, return_counts=True),
)
print(
    torch.bincount(s),
    torch.cumsum(s, 0),
    s.cumprod(0),
    torch.flip(s, [0]),
    torch.roll(s, 1),
    s.diff(),
)
print(torch.einsum("ij,kj->ik", x, x), torch.einsum("ij->j", x), torch.einsum("bi,bi->b", x, x))
print(
    x.gather(1, torch.tensor([[0], [1], [2]])),
    torch.zeros(3, 4).scatter_(1, torch.tensor([[0], [1], [2]]), 1.0),
)
print(
    torch.nn.functional.one_hot(torch.tensor([0, 2, 1]), 3),
    torch.eye(2),
    torch.tril(torch.ones(3, 3)),
)
print(
    torch.stack([x[0], x[1]]),
    torch.cat([x[:1], x[:1]], dim=-1),
    *torch.chunk(x, 2, dim=1),
    *x.unbind(0),
)
print(x.unsqueeze(0).expand(2, -1, -1).shape, x.repeat(1, 2).shape, s.repeat_interleave(2))
y = x.clone()
y[0] = -1
y[:, 1] += 10
y[y < 0] = 0
y.masked_fill_(y > 15, 99)
print(y, (x == y).all(), torch.equal(x, y), torch.allclose(x, x + 1e-9), (x > 3).any(dim=1))
print(x.to(torch.int64), x.long().dtype, x.half(), x.bool().sum(), x.to(torch.bfloat16)[0])
print(
    torch.tensor([1, 2]) + 0.5,
    torch.tensor([1, 2]) / 2,
    torch.tensor(5) // 2,
    torch.tensor([5]) % 3,
    -s,
    ~(s > 1),
)
print(
    torch.tensor(True) + 1,
    torch.ones(2, dtype=torch.int32) + torch.ones(2),
    2 ** torch.arange(4),
    torch.arange(5) ** 2,
)
print(
    torch.tensor([1 + 2j]).abs(),
    torch.complex(torch.ones(1), torch.ones(1)),
    torch.result_type(x, s),
)
print(
    torch.linspace(0, 1, 5),
    torch.logspace(0, 2, 3),
    torch.full((2,), 7),
    torch.empty(0),
    torch.tensor([]),
    torch.tensor(3.5),
)
a = np.arange(6, dtype=np.float32).reshape(2, 3)
t = torch.from_numpy(a)
t[0, 0] = 100
print(
    a,
    t.numpy() is not None,
    np.allclose(np.asarray(t), a),
    np.sin(t.numpy())[0, 1],
    t.tolist(),
    np.array(t).dtype,
)
print(
    torch.tensor(a),
    torch.as_tensor([1.5, 2]),
    torch.tensor(np.float64(2.5)),
    torch.tensor(np.int32(3)).dtype,
    a + t.numpy(),
)
print(
    x @ x.T,
    torch.matmul(x, x[0]),
    torch.bmm(x[None], x.T[None]).shape,
    x.mm(x.t()).trace(),
    torch.outer(x[0], x[1]),
)
print(
    x.norm(),
    torch.linalg.norm(x, dim=1),
    torch.dist(x[0], x[1]),
    x.clamp(2, 5),
    x.clip(min=3)[0],
    torch.lerp(x[0], x[1], 0.5),
)
print(
    torch.softmax(x, 1),
    torch.log_softmax(x, -1)[0],
    torch.logsumexp(x, 1),
    x.sigmoid()[0],
    x.tanh()[0],
)
print(
    torch.isnan(torch.tensor([1.0, float("nan"), float("inf")])),
    torch.nan_to_num(torch.tensor([float("nan"), float("inf")]), posinf=1.0),
    torch.isfinite(x).all(),
)
print(
    torch.quantile(x, 0.5),
    x.median(),
    x.mode(),
    x.var(),
    torch.histc(x, 4),
    torch.bucketize(torch.tensor([3.0]), torch.tensor([1.0, 2, 4])),
    torch.searchsorted(torch.tensor([1, 3, 5]), 3),
)
print(
    torch.combinations(torch.arange(3)),
    torch.cartesian_prod(torch.arange(2), torch.arange(2)),
    torch.kron(torch.eye(2), torch.ones(1, 2)),
    torch.tensordot(x, x, dims=([1], [1])),
)
print(
    torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")[1],
    torch.diag(torch.tensor([1, 2])),
    torch.block_diag(torch.ones(1, 1), torch.ones(2, 2)),
    torch.triu_indices(3, 3, 1),
)
print(
    torch.randn(2, 3),
    torch.rand(2),
    torch.randint(0, 10, (5,)),
    torch.randperm(6),
    torch.normal(0.0, 1.0, (2,)),
    torch.bernoulli(torch.full((4,), 0.5)),
    torch.multinomial(torch.tensor([0.1, 0.9]), 4, replacement=True),
)
torch.manual_seed(5)
r1 = torch.randn(3)
torch.manual_seed(5)
print(torch.equal(r1, torch.randn(3)), torch.initial_seed())
g = torch.Generator().manual_seed(3)
print(torch.rand(2, generator=g), torch.get_rng_state().shape)
torch.set_printoptions(precision=2, sci_mode=False)
print(torch.tensor([1234.5678, 0.0001]))
torch.set_printoptions(profile="default")
print(
    torch.tensor([1e-8, 1.0]),
    torch.tensor([[1e10, 1.0]]),
    torch.arange(2000),
    torch.zeros(2, 2, 2),
    torch.tensor([1.5, float("nan"), -float("inf")]),
)
w = torch.ones(2, requires_grad=True)
z = (w * 3).sum()
print(w, z, w * 2, z.grad_fn is not None, w.is_leaf, z.detach(), w.data)
z.backward()
print(w.grad)
with torch.no_grad():
    w -= 0.1 * w.grad
    w.grad.zero_()
print(w, (w * 2).requires_grad)
for row in x:
    print(row.sum().item(), end=" ")
print(
    len(x),
    x.numel(),
    x.dim(),
    x.ndim,
    x.nelement(),
    x.element_size(),
    float(x[0, 1]),
    int(s[0]),
    bool(s[0] > 0),
    s[0].item(),
    f"{x[0, 1]:.2f}",
    x.itemsize,
)
print(
    torch.split(x, [1, 3], dim=1)[1],
    torch.tensor_split(s, 2),
    torch.vstack([x[0], x[1]]).shape,
    torch.hstack([s, s]),
    torch.dstack([s, s]).shape,
    torch.movedim(torch.zeros(2, 3, 4), 0, -1).shape,
    torch.swapaxes(x, 0, 1).shape,
    torch.atleast_2d(s).shape,
)
print(
    torch.nn.functional.pad(x, (1, 1), value=9),
    torch.take_along_dim(x, x.argsort(1, descending=True), 1),
    torch.index_select(x, 1, torch.tensor([3, 0])),
    torch.masked_select(x, x > 9),
    torch.nonzero(x > 9, as_tuple=True),
    torch.count_nonzero(x),
    torch.argwhere(x > 9),
)
print(
    torch.addmm(torch.ones(3, 3), x, x.T, alpha=2),
    torch.addcmul(x[0], x[1], x[2], value=0.1),
    torch.maximum(x[0], x[1]),
    torch.fmod(x[1], 3),
    torch.remainder(-x[1], 3),
    torch.atan2(x[0], x[1]),
    torch.round(x[1] / 3, decimals=1),
    torch.trunc(-x[1] / 3),
    torch.frac(x[1] / 3),
)
print(
    s.new_zeros(2),
    x.new_tensor([1, 2]),
    x.new_full((2,), 3),
    torch.ones_like(s, dtype=torch.float),
    x.type(),
    x.type(torch.DoubleTensor).dtype if hasattr(torch, "DoubleTensor") else torch.float64,
    x.type_as(s).dtype,
)
print(
    torch.finfo(torch.float32).eps,
    torch.iinfo(torch.int8).max,
    torch.is_tensor(x),
    torch.is_floating_point(s),
    torch.numel(x),
    torch.typename(x),
    torch.get_default_dtype(),
    torch.can_cast(torch.float, torch.int),
)
print(
    x.untyped_storage().nbytes(),
    x.data_ptr() == x.view(12).data_ptr(),
    x.storage_offset(),
    x in [x],
    torch.Size([1, 2]) + (3,),
    torch.broadcast_shapes((2, 1), (3,)),
    torch.broadcast_tensors(x[0], s[:1])[1],
)
print(
    [
        t.shape
        for t in torch.utils.data.default_collate(
            [{"a": np.ones(2), "b": 1}, {"a": np.zeros(2), "b": 2}]
        ).values()
    ]
)
print(
    repr(torch.device("cpu")),
    torch.device("cuda:1").index,
    torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    torch.float32,
    torch.contiguous_format,
)
