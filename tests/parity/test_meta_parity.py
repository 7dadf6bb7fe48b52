"""Tensors without data (device="meta") beside PyTorch's."""

import copy
import io
import pickle
import warnings

import pytest

import flambeau

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning"),
]

EXPRESSIONS = {
    "t.empty(2,3,device='meta')": lambda t, m: t.empty(2, 3, device="meta"),
    "t.empty((2,3),device=t.device('meta'),dtype=t.float64,requires_grad=True)": lambda t, m: (
        t.empty((2, 3), device=t.device("meta"), dtype=t.float64, requires_grad=True)
    ),
    "t.zeros(2,3,device='meta')": lambda t, m: t.zeros(2, 3, device="meta"),
    "t.ones(2,device='meta')": lambda t, m: t.ones(2, device="meta"),
    "t.full((2,3),1.5,device='meta')": lambda t, m: t.full((2, 3), 1.5, device="meta"),
    "t.full((2,3),1,device='meta')": lambda t, m: t.full((2, 3), 1, device="meta"),
    "t.rand(2,3,device='meta')": lambda t, m: t.rand(2, 3, device="meta"),
    "t.randn(2,3,device='meta')": lambda t, m: t.randn(2, 3, device="meta"),
    "t.randint(5,(2,3),device='meta')": lambda t, m: t.randint(5, (2, 3), device="meta"),
    "t.randint(1,5,(2,3),device='meta')": lambda t, m: t.randint(1, 5, (2, 3), device="meta"),
    "t.arange(5,device='meta')": lambda t, m: t.arange(5, device="meta"),
    "t.arange(5.,device='meta')": lambda t, m: t.arange(5.0, device="meta"),
    "t.linspace(0,1,4,device='meta')": lambda t, m: t.linspace(0, 1, 4, device="meta"),
    "t.eye(3,device='meta')": lambda t, m: t.eye(3, device="meta"),
    "t.tensor([1.,2.],device='meta')": lambda t, m: t.tensor([1.0, 2.0], device="meta"),
    "t.tensor([[1,2]],device='meta',dtype=t.float64)": lambda t, m: t.tensor(
        [[1, 2]], device="meta", dtype=t.float64
    ),
    "t.tensor(0,device='meta')": lambda t, m: t.tensor(0, device="meta"),
    "t.as_tensor([1.,2.],device='meta')": lambda t, m: t.as_tensor([1.0, 2.0], device="meta"),
    "t.empty_strided((2,3),(1,2),device='meta')": lambda t, m: t.empty_strided(
        (2, 3), (1, 2), device="meta"
    ),
    "t.randperm(5,device='meta')": lambda t, m: t.randperm(5, device="meta"),
    "t.empty_like(t.ones(2,3),device='meta')": lambda t, m: t.empty_like(
        t.ones(2, 3), device="meta"
    ),
    "t.zeros_like(t.ones(2,3,dtype=t.int32),device='meta')": lambda t, m: t.zeros_like(
        t.ones(2, 3, dtype=t.int32), device="meta"
    ),
    "t.ones(2,3).to('meta')": lambda t, m: t.ones(2, 3).to("meta"),
    "t.ones(2,3).to('meta',t.float64)": lambda t, m: t.ones(2, 3).to("meta", t.float64),
    "t.ones(2,3).to(device='meta',dtype=t.float64)": lambda t, m: t.ones(2, 3).to(
        device="meta", dtype=t.float64
    ),
    "t.ones(2,3).t().to('meta')": lambda t, m: t.ones(2, 3).t().to("meta"),
    "t.ones(2,3).new_zeros(4,device='meta')": lambda t, m: t.ones(2, 3).new_zeros(4, device="meta"),
    "t.ones(2,3).new_zeros((4,),device='meta')": lambda t, m: t.ones(2, 3).new_zeros(
        (4,), device="meta"
    ),
    "m.new_zeros(4)": lambda t, m: m.new_zeros(4),
    "m.new_ones((4,5),dtype=t.int64)": lambda t, m: m.new_ones((4, 5), dtype=t.int64),
    "m.new_full((4,5),3)": lambda t, m: m.new_full((4, 5), 3),
    "m.new_empty(4,5)": lambda t, m: m.new_empty(4, 5),
    "t.empty_like(m)": lambda t, m: t.empty_like(m),
    "t.zeros_like(m,dtype=t.float64)": lambda t, m: t.zeros_like(m, dtype=t.float64),
    "t.empty_like(m,device='cpu').shape": lambda t, m: t.empty_like(m, device="cpu").shape,
    "t.zeros_like(m,device='cpu')": lambda t, m: t.zeros_like(m, device="cpu"),
    "m.to(t.float64)": lambda t, m: m.to(t.float64),
    "m.to('meta') is m": lambda t, m: m.to("meta") is m,
    "m.to('cpu')": lambda t, m: m.to("cpu"),
    "m.cpu()": lambda t, m: m.cpu(),
    "m.double()": lambda t, m: m.double(),
    "m.half()": lambda t, m: m.half(),
    "m.long()": lambda t, m: m.long(),
    "m.item()": lambda t, m: m.item(),
    "m.tolist()": lambda t, m: m.tolist(),
    "bool(m[0,0])": lambda t, m: bool(m[0, 0]),
    "float(m[0,0])": lambda t, m: float(m[0, 0]),
    "int(m[0,0])": lambda t, m: int(m[0, 0]),
    "m.numpy()": lambda t, m: m.numpy(),
    "m.T": lambda t, m: m.T,
    "m.t()": lambda t, m: m.t(),
    "m[0]": lambda t, m: m[0],
    "m[:,1:]": lambda t, m: m[:, 1:],
    "m[None]": lambda t, m: m[None],
    "m[...,0]": lambda t, m: m[..., 0],
    "m.view(-1)": lambda t, m: m.view(-1),
    "m.reshape(3,2)": lambda t, m: m.reshape(3, 2),
    "m.T.reshape(-1)": lambda t, m: m.T.reshape(-1),
    "m.T.view(-1)": lambda t, m: m.T.view(-1),
    "m.flatten()": lambda t, m: m.flatten(),
    "m.unsqueeze(0)": lambda t, m: m.unsqueeze(0),
    "m.expand(4,2,3)": lambda t, m: m.expand(4, 2, 3),
    "m.permute(1,0)": lambda t, m: m.permute(1, 0),
    "m.chunk(2)": lambda t, m: m.chunk(2),
    "m.split(1,1)": lambda t, m: m.split(1, 1),
    "m.unbind()": lambda t, m: m.unbind(),
    "m+1": lambda t, m: m + 1,
    "m+1.5": lambda t, m: m + 1.5,
    "m*m": lambda t, m: m * m,
    "m/2": lambda t, m: m / 2,
    "t.ones(2,3,dtype=t.int64,device='meta')/2": lambda t, m: (
        t.ones(2, 3, dtype=t.int64, device="meta") / 2
    ),
    "m==m": lambda t, m: m == m,
    "m+t.ones(3,device='meta',dtype=t.float64)": lambda t, m: (
        m + t.ones(3, device="meta", dtype=t.float64)
    ),
    "m+t.ones(2,3)": lambda t, m: m + t.ones(2, 3),
    "m+t.tensor(1.)": lambda t, m: m + t.tensor(1.0),
    "t.exp(m)": lambda t, m: t.exp(m),
    "m.sum()": lambda t, m: m.sum(),
    "m.sum(0)": lambda t, m: m.sum(0),
    "m.sum(1,keepdim=True)": lambda t, m: m.sum(1, keepdim=True),
    "m.mean((0,1))": lambda t, m: m.mean((0, 1)),
    "m.max()": lambda t, m: m.max(),
    "m.max(1)": lambda t, m: m.max(1),
    "m.max(m)": lambda t, m: m.max(m),
    "m.argmax(1)": lambda t, m: m.argmax(1),
    "m.std(0)": lambda t, m: m.std(0),
    "m.var()": lambda t, m: m.var(),
    "m.all()": lambda t, m: m.all(),
    "m.norm()": lambda t, m: m.norm(),
    "m.norm(dim=1)": lambda t, m: m.norm(dim=1),
    "m.long().sum()": lambda t, m: m.long().sum(),
    "m.cumsum(0)": lambda t, m: m.cumsum(0),
    "m.long().bool().cumsum(0)": lambda t, m: m.long().bool().cumsum(0),
    "t.softmax(m,1)": lambda t, m: t.softmax(m, 1),
    "t.nn.functional.relu(m)": lambda t, m: t.nn.functional.relu(m),
    "t.nn.functional.gelu(m)": lambda t, m: t.nn.functional.gelu(m),
    "t.nn.functional.layer_norm(m,(3,))": lambda t, m: t.nn.functional.layer_norm(m, (3,)),
    "m@m.T": lambda t, m: m @ m.T,
    "t.matmul(m,m)": lambda t, m: t.matmul(m, m),
    "t.matmul(t.ones(4,2,3,device='meta'),t.ones(3,5,device='meta'))": lambda t, m: t.matmul(
        t.ones(4, 2, 3, device="meta"), t.ones(3, 5, device="meta")
    ),
    "matmul of batches": lambda t, m: t.matmul(
        t.ones(4, 2, 3, device="meta"), t.ones(6, 1, 3, 5, device="meta")
    ),
    "t.matmul(t.ones(3,device='meta'),t.ones(3,5,device='meta'))": lambda t, m: t.matmul(
        t.ones(3, device="meta"), t.ones(3, 5, device="meta")
    ),
    "t.matmul(t.ones(4,3,device='meta'),t.ones(3,device='meta'))": lambda t, m: t.matmul(
        t.ones(4, 3, device="meta"), t.ones(3, device="meta")
    ),
    "t.matmul(t.ones(3,device='meta'),t.ones(3,device='meta'))": lambda t, m: t.matmul(
        t.ones(3, device="meta"), t.ones(3, device="meta")
    ),
    "t.matmul(t.ones(7,4,3,device='meta'),t.ones(3,device='meta'))": lambda t, m: t.matmul(
        t.ones(7, 4, 3, device="meta"), t.ones(3, device="meta")
    ),
    "t.bmm(t.ones(4,2,3,device='meta'),t.ones(4,3,5,device='meta'))": lambda t, m: t.bmm(
        t.ones(4, 2, 3, device="meta"), t.ones(4, 3, 5, device="meta")
    ),
    "t.cat([m,m])": lambda t, m: t.cat([m, m]),
    "t.cat([m,m.double()],1)": lambda t, m: t.cat([m, m.double()], 1),
    "t.stack([m,m],1)": lambda t, m: t.stack([m, m], 1),
    "t.where(m>0,m,0.)": lambda t, m: t.where(m > 0, m, 0.0),
    "t.nn.functional.linear(m,t.ones(5,3,device='meta'))": lambda t, m: t.nn.functional.linear(
        m, t.ones(5, 3, device="meta")
    ),
    "linear of a vector": lambda t, m: t.nn.functional.linear(
        t.ones(3, device="meta"), t.ones(5, 3, device="meta")
    ),
    "conv2d": lambda t, m: t.nn.functional.conv2d(
        t.ones(4, 3, 8, 8, device="meta"),
        t.ones(5, 3, 3, 3, device="meta"),
        padding=1,
        stride=2,
    ),
    "embedding": lambda t, m: t.nn.functional.embedding(
        t.zeros(4, 5, dtype=t.int64, device="meta"), t.ones(10, 7, device="meta")
    ),
    "max_pool2d": lambda t, m: t.nn.functional.max_pool2d(t.ones(4, 3, 8, 8, device="meta"), 2),
    "attention": lambda t, m: t.nn.functional.scaled_dot_product_attention(
        t.ones(4, 2, 3, 5, device="meta"),
        t.ones(4, 2, 6, 5, device="meta"),
        t.ones(4, 2, 6, 7, device="meta"),
    ),
    "attention of many queries": lambda t, m: t.nn.functional.scaled_dot_product_attention(
        t.ones(2, 2, 60, 8, device="meta"),
        t.ones(2, 2, 60, 8, device="meta"),
        t.ones(2, 2, 60, 8, device="meta"),
    ),
    "t.nn.functional.dropout(m)": lambda t, m: t.nn.functional.dropout(m),
    "m.clone()": lambda t, m: m.clone(),
    "m.contiguous()": lambda t, m: m.contiguous(),
    "m.T.clone()": lambda t, m: m.T.clone(),
    "m.detach()": lambda t, m: m.detach(),
    "m.requires_grad_()": lambda t, m: m.requires_grad_(),
    "m.fill_(1)": lambda t, m: m.fill_(1),
    "m.normal_()": lambda t, m: m.normal_(),
    "m.zero_()": lambda t, m: m.zero_(),
    "m.copy_(t.ones(2,3))": lambda t, m: m.copy_(t.ones(2, 3)),
    "t.ones(2,3).copy_(m)": lambda t, m: t.ones(2, 3).copy_(m),
    "m.data_ptr()": lambda t, m: m.data_ptr(),
    "m.is_contiguous()": lambda t, m: m.is_contiguous(),
    "m.numel()": lambda t, m: m.numel(),
    "len(m)": lambda t, m: len(m),
    "m.device": lambda t, m: m.device,
    "m.is_meta": lambda t, m: m.is_meta,
    "repr(m)": lambda t, m: repr(m),
    "repr(m.double())": lambda t, m: repr(m.double()),
    "repr(t.ones(2,dtype=t.int64,device='meta'))": lambda t, m: repr(
        t.ones(2, dtype=t.int64, device="meta")
    ),
    "repr(t.nn.Parameter(m))": lambda t, m: repr(t.nn.Parameter(m)),
    "repr(t.nn.Parameter(m.double(),False))": lambda t, m: repr(t.nn.Parameter(m.double(), False)),
    "t.nn.Parameter(m)": lambda t, m: t.nn.Parameter(m),
    "t.nn.Parameter(m).data": lambda t, m: t.nn.Parameter(m).data,
    "isinstance(t.nn.Parameter(m),t.nn.Parameter)": lambda t, m: isinstance(
        t.nn.Parameter(m), t.nn.Parameter
    ),
    "isinstance(copy.deepcopy(t.nn.Parameter(m)),t.nn.Parameter)": lambda t, m: isinstance(
        copy.deepcopy(t.nn.Parameter(m)), t.nn.Parameter
    ),
    "m.masked_fill(m>0,0.)": lambda t, m: m.masked_fill(m > 0, 0.0),
    "m.repeat(2,2)": lambda t, m: m.repeat(2, 2),
    "m[m>0]": lambda t, m: m[m > 0],
    "t.nonzero(m)": lambda t, m: t.nonzero(m),
    "t.empty(1<<40,device='meta').numel()": lambda t, m: t.empty(1 << 40, device="meta").numel(),
    "t.randn(1<<20,1<<20,device='meta')": lambda t, m: t.randn(1 << 20, 1 << 20, device="meta"),
}
# Errors that say more here.
OWN_WORDS = {
    "m.item()",
    "m.numpy()",
    "m.T.view(-1)",
    "m+t.ones(2,3)",
    "t.matmul(m,m)",
    "m[m>0]",
    "t.nonzero(m)",
}
MODULES = {
    "Linear": lambda n, **k: n.Linear(3, 4, **k),
    "Bilinear": lambda n, **k: n.Bilinear(2, 3, 4, **k),
    "Conv2d": lambda n, **k: n.Conv2d(2, 4, 3, groups=2, **k),
    "ConvTranspose3d": lambda n, **k: n.ConvTranspose3d(2, 3, 3, **k),
    "BatchNorm2d": lambda n, **k: n.BatchNorm2d(3, **k),
    "GroupNorm": lambda n, **k: n.GroupNorm(2, 4, **k),
    "LayerNorm": lambda n, **k: n.LayerNorm((3, 4), **k),
    "RMSNorm": lambda n, **k: n.RMSNorm(4, **k),
    "InstanceNorm1d": lambda n, **k: n.InstanceNorm1d(
        3, affine=True, track_running_stats=True, **k
    ),
    "Embedding": lambda n, **k: n.Embedding(10, 3, padding_idx=0, **k),
    "EmbeddingBag": lambda n, **k: n.EmbeddingBag(10, 3, **k),
    "LSTM": lambda n, **k: n.LSTM(3, 4, 2, bidirectional=True, proj_size=2, **k),
    "GRUCell": lambda n, **k: n.GRUCell(3, 4, **k),
    "MultiheadAttention": lambda n, **k: n.MultiheadAttention(8, 2, kdim=3, vdim=4, **k),
    "Transformer": lambda n, **k: n.Transformer(8, 2, 1, 1, 16, **k),
    "PReLU": lambda n, **k: n.PReLU(3, **k),
    "AdaptiveLogSoftmaxWithLoss": lambda n, **k: n.AdaptiveLogSoftmaxWithLoss(8, 20, [5], **k),
}


def plain(value):
    """Comparable across frameworks: of tensors everything but the numbers."""
    if hasattr(value, "storage_offset"):
        text = str(value.dtype).rpartition(".")[2], str(value.device)
        return *text, tuple(value.shape), value.stride(), value.requires_grad, value.is_meta
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    return repr(value).replace("flambeau.", "torch.")


def attempt(function, words=True):
    try:
        return plain(function())
    except Exception as error:
        text = str(error).partition("\n")[0]
        return type(error).__name__, text.replace("flambeau.", "torch.") if words else None


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def run_both(torch, function, words=True):
    results = []
    for framework in (flambeau, torch):
        framework.manual_seed(1)
        results.append(attempt(lambda f=framework: function(f), words))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", list(EXPRESSIONS))
def test_expression(torch, name):
    function = EXPRESSIONS[name]
    run_both(torch, lambda t: function(t, t.empty(2, 3, device="meta")), name not in OWN_WORDS)


def describe(module):
    named = [*module.named_parameters(), *module.named_buffers()]
    return [(name, tensor, str(tensor.device)) for name, tensor in named]


@pytest.mark.parametrize("name", list(MODULES))
@pytest.mark.parametrize("block", [False, True])
def test_module(torch, name, block):
    def build(t):
        if not block:
            made = MODULES[name](t.nn, device="meta", dtype=t.float64)
        else:
            with t.device("meta"):
                made = MODULES[name](t.nn)
        before = describe(made)
        return before, describe(made.to_empty(device="cpu")), t.rand(1).item()

    run_both(torch, build)


def make_net(t, **options):
    parts = (
        t.nn.Linear(3, 4, **options),
        t.nn.BatchNorm1d(4, **options),
        t.nn.Linear(4, 2, **options),
    )
    return t.nn.Sequential(*parts)


def through_file(t, value, **options):
    file = io.BytesIO()
    t.save(value, file)
    file.seek(0)
    return list(t.load(file, **options).items())


def assign(t):
    empty, full = make_net(t, device="meta"), make_net(t)
    report = repr(empty.load_state_dict(full.state_dict(), assign=True))
    x = t.ones(5, 3)
    return report, describe(empty), (empty(x) - full(x)).abs().max().item()


def copy_instead_of_assigning(t):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        empty = make_net(t, device="meta")
        empty.load_state_dict(make_net(t).state_dict())
    return describe(empty), [str(warning.message) for warning in caught]


def reset_after_to_empty(t):
    net = make_net(t, device="meta").to_empty(device="cpu")
    t.manual_seed(0)
    for part in net:
        part.reset_parameters()
    return [float(p.detach().sum()) for p in net.parameters()]


def nested_devices(t):
    made = []
    with t.device("meta"):
        made.append(t.ones(2))
        with t.device("cpu"):
            made += [t.ones(2), str(t.get_default_device())]
        made += [t.ones(2, device="cpu"), t.tensor([1.0]), t.arange(3), t.rand(2), t.randperm(4)]
        made += [
            t.ones_like(t.ones(2, device="cpu")),
            t.as_tensor([1, 2]),
            t.empty_strided((2,), (1,)),
        ]
        made.append(str(t.get_default_device()))
    return [*made, t.ones(2), str(t.get_default_device())]


def default_device(t):
    t.set_default_device("meta")
    try:
        made = [t.empty(2), t.get_default_device(), t.nn.Linear(2, 3).weight]
    finally:
        t.set_default_device("cpu")
    return [*made, t.empty(2), t.get_default_device()]


PROGRAMS = {
    "assign": assign,
    "copy instead of assigning": copy_instead_of_assigning,
    "nested devices": nested_devices,
    "default device": default_device,
    "from meta": lambda t: make_net(t).load_state_dict(make_net(t, device="meta").state_dict()),
    "to cpu": lambda t: make_net(t, device="meta").to("cpu"),
    "cpu": lambda t: make_net(t, device="meta").cpu(),
    "to meta": lambda t: describe(make_net(t).to("meta")),
    "to meta and double": lambda t: describe(make_net(t).to("meta", t.float64)),
    "half": lambda t: describe(make_net(t, device="meta").half()),
    "forward": lambda t: make_net(t, device="meta").eval()(t.ones(5, 3, device="meta")),
    "deepcopy": lambda t: describe(copy.deepcopy(make_net(t, device="meta"))),
    "pickle": lambda t: describe(pickle.loads(pickle.dumps(make_net(t, device="meta")))),
    "state": lambda t: list(make_net(t, device="meta").state_dict().items()),
    "saved": lambda t: through_file(t, make_net(t, device="meta").state_dict()),
    "loaded without data": lambda t: through_file(t, make_net(t).state_dict(), map_location="meta"),
    "frozen": lambda t: describe(make_net(t, device="meta").requires_grad_(False)),
    "large": lambda t: t.nn.Linear(1 << 17, 1 << 17, device="meta").weight,
}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_program(torch, name):
    run_both(torch, PROGRAMS[name])


def test_resetting_after_to_empty(torch):
    mine, theirs = reset_after_to_empty(flambeau), reset_after_to_empty(torch)
    assert mine == pytest.approx(theirs, rel=1e-5)


def test_files_of_the_other_framework(torch):
    for writer, reader in ((flambeau, torch), (torch, flambeau)):
        file = io.BytesIO()
        state = make_net(writer, device="meta").state_dict()
        writer.save({"state": state, "parameter": writer.nn.Parameter(state["0.bias"])}, file)
        file.seek(0)
        loaded = reader.load(file)
        assert plain(list(loaded["state"].items())) == plain(list(state.items()))
        assert isinstance(loaded["parameter"], reader.nn.Parameter)
