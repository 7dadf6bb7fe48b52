"""Every module of torch.nn, forward and backward, on little data and on much.

`small` rows show the framework's own time, `large` ones the kernels'. Left out: what has no forward
of its own (ModuleList, ParameterDict, ...), what PyTorch runs on other devices only (SyncBatchNorm,
DataParallel), and the lazy forms, which become the plain ones when first called.
"""

from collections.abc import Iterator
from typing import Any

from .common import Body, Build, Workload

# Modules by the inputs they are timed on, the small and the large ones. Inputs are written in the
# methods of `Inputs`; a module may name C, the first input's second size (or only one), and
# L, its last; R is the bound of indices.
MODULES: dict[tuple[str, str], str] = {
    ("n(16, 16)", "n(1024, 512)"): """
        ReLU() ReLU6() LeakyReLU() PReLU() RReLU() ELU() CELU() SELU() GELU()
        GELU(approximate='tanh') SiLU() Mish() Sigmoid() LogSigmoid() Tanh() Tanhshrink()
        Softplus() Softsign() Softshrink() Hardshrink() Hardsigmoid() Hardswish() Hardtanh()
        Threshold(0.1,20) GLU() Softmax(1) Softmin(1) LogSoftmax(1) Identity() Dropout()
        AlphaDropout() Flatten() Unflatten(1,(2,C//2)) LayerNorm(C) RMSNorm(C) Linear(C,C)
        Sequential(Linear(C,16),ReLU(),Linear(16,C))""",
    ("n(2, 8, 16)", "n(16, 32, 1024)"): """
        Conv1d(C,C,3,padding=1) ConvTranspose1d(C,C,4,2) BatchNorm1d(C) InstanceNorm1d(C)
        MaxPool1d(2) AvgPool1d(2) LPPool1d(2,2) AdaptiveAvgPool1d(7) AdaptiveMaxPool1d(7)
        ConstantPad1d(2,0.5) ZeroPad1d(2) ReflectionPad1d(2) ReplicationPad1d(2) CircularPad1d(2)
        Dropout1d() Upsample(scale_factor=2,mode='linear')""",
    ("n(2, 8, 8, 8)", "n(8, 32, 32, 32)"): """
        Conv2d(C,C,3,padding=1) Conv2d(C,C,3,2,groups=C) ConvTranspose2d(C,C,4,2) BatchNorm2d(C)
        InstanceNorm2d(C,affine=True) GroupNorm(4,C) LocalResponseNorm(5) CrossMapLRN2d(5)
        MaxPool2d(2) MaxPool2d(3,2,1) AvgPool2d(2) LPPool2d(2,2)
        FractionalMaxPool2d(2,output_ratio=0.6) AdaptiveAvgPool2d(7) AdaptiveMaxPool2d(7)
        ConstantPad2d(2,0.5) ZeroPad2d(2) ReflectionPad2d(2) ReplicationPad2d(2) CircularPad2d(2)
        PixelShuffle(2) PixelUnshuffle(2) ChannelShuffle(4) Unfold(3) Softmax2d() Dropout2d()
        FeatureAlphaDropout() UpsamplingNearest2d(scale_factor=2)
        UpsamplingBilinear2d(scale_factor=2) Upsample(scale_factor=2,mode='bilinear')
        Upsample(scale_factor=2,mode='bicubic')""",
    ("n(1, 8, 4, 4, 4)", "n(4, 16, 16, 16, 16)"): """
        Conv3d(C,C,3,padding=1) ConvTranspose3d(C,C,2,2) BatchNorm3d(C) InstanceNorm3d(C)
        MaxPool3d(2) AvgPool3d(2) LPPool3d(2,2) FractionalMaxPool3d(2,output_ratio=0.6)
        AdaptiveAvgPool3d(3) AdaptiveMaxPool3d(3) ConstantPad3d(1,0.5) ZeroPad3d(1)
        ReflectionPad3d(1) ReplicationPad3d(1) CircularPad3d(1) Dropout3d()
        Upsample(scale_factor=2,mode='trilinear')""",
    ("n(2, 36, 9)", "n(8, 288, 256)"): "Fold(int(L**0.5)+2,3)",
    ("*u(1, 2, 4, 16)", "*u(1, 16, 32, 1024)"): "MaxUnpool1d(2)",
    ("*u(2, 2, 4, 8, 8)", "*u(2, 8, 32, 32, 32)"): "MaxUnpool2d(2)",
    ("*u(3, 1, 4, 4, 4, 4)", "*u(3, 4, 16, 16, 16, 16)"): "MaxUnpool3d(2)",
    ("n(16, 16), v(16, 16)", "n(1024, 512), v(1024, 512)"): """
        L1Loss() MSELoss() SmoothL1Loss() HuberLoss() PoissonNLLLoss()""",
    ("n(16, 16), p(16, 16)", "n(1024, 512), p(1024, 512)"): """
        KLDivLoss(reduction='batchmean') BCEWithLogitsLoss() MultiLabelSoftMarginLoss()""",
    ("w(16, 16), p(16, 16)", "w(1024, 512), p(1024, 512)"): "BCELoss()",
    ("n(16, 16), v(16, 16), p(16, 16)", "n(1024, 512), v(1024, 512), p(1024, 512)"): """
        GaussianNLLLoss()""",
    ("n(64), s(64)", "n(2**19), s(2**19)"): "SoftMarginLoss() HingeEmbeddingLoss()",
    ("n(64), n(64), s(64)", "n(2**18), n(2**18), s(2**18)"): "MarginRankingLoss()",
    ("n(16, 16), i(16, 16)", "n(4096, 256), i(256, 4096)"): """
        CrossEntropyLoss() CrossEntropyLoss(label_smoothing=0.1) NLLLoss() MultiMarginLoss()""",
    ("n(8, 8), m(8, 8, 8)", "n(1024, 256), m(256, 1024, 256)"): "MultiLabelMarginLoss()",
    ("n(16, 16), n(16, 16)", "n(2048, 256), n(2048, 256)"): "CosineSimilarity() PairwiseDistance()",
    ("n(16, 16), n(16, 16), s(16)", "n(2048, 256), n(2048, 256), s(2048)"): """
        CosineEmbeddingLoss()""",
    ("n(16, 16), n(16, 16), n(16, 16)", "n(2048, 128), n(2048, 128), n(2048, 128)"): """
        TripletMarginLoss() TripletMarginWithDistanceLoss()""",
    (
        "q(10, 2, 8), i(7, 2, 3) + 1, f(2, 10), f(2, 3)",
        "q(256, 16, 64), i(63, 16, 64) + 1, f(16, 256), f(16, 64)",
    ): "CTCLoss()",
    ("n(16, 16), i(256, 16)", "n(1024, 256), i(4096, 1024)"): """
        AdaptiveLogSoftmaxWithLoss(C,16*C,[C,4*C]) LinearCrossEntropyLoss(C,16*C)""",
    ("n(8, 8), n(8, 8)", "n(2048, 64), n(2048, 64)"): "Bilinear(C,C,C)",
    ("i(64, 4, 8)", "i(4096, 64, 256)"): "Embedding(R,64)",
    ("i(64, 4, 8)", "i(4096, 2048, 8)"): "EmbeddingBag(R,64)",
    ("i(64, 32), o(32, 8)", "i(4096, 2**14), o(2**14, 2048)"): """
        EmbeddingBag(R,64,mode='sum') EmbeddingBag(R,64,mode='max')""",
    ("n(4, 2, 8)", "n(32, 16, 256)"): """
        RNN(L,L) LSTM(L,L) GRU(L,L) LSTM(L,L,2,bidirectional=True)""",
    ("n(4, 8), n(4, 8)", "n(512, 512), n(512, 512)"): "RNNCell(C,C) GRUCell(C,C)",
    ("n(4, 8), (n(4, 8), n(4, 8))", "n(512, 512), (n(512, 512), n(512, 512))"): "LSTMCell(C,C)",
    ("n(5, 2, 16), n(5, 2, 16), n(5, 2, 16)", "*[n(128, 8, 256) for _ in range(3)]"): """
        MultiheadAttention(L,4)""",
    ("n(5, 2, 16)", "n(64, 16, 256)"): """
        TransformerEncoderLayer(L,4,2*L)
        TransformerEncoder(TransformerEncoderLayer(L,4,2*L,batch_first=True),2)""",
    ("n(2, 5, 16), n(2, 4, 16)", "n(32, 16, 256), n(32, 16, 256)"): """
        TransformerDecoderLayer(L,4,2*L,batch_first=True)
        TransformerDecoder(TransformerDecoderLayer(L,4,2*L,batch_first=True),2)
        Transformer(L,4,1,1,2*L,batch_first=True)""",
}


class Inputs:
    """What the inputs are made with; `n`, `w`, `q` and `u` ask for a gradient."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.leaves: list[Any] = []
        self.bound = 0

    def leaf(self, x: Any) -> Any:
        """Return x, asking for its gradient."""
        self.leaves.append(x.requires_grad_())
        return x

    def n(self, *shape: int) -> Any:
        """Return normal variates, a leaf."""
        return self.leaf(self.v(*shape))

    def q(self, *shape: int) -> Any:
        """Return logarithms of probabilities along the last dimension, a leaf."""
        return self.leaf(self.torch.log_softmax(self.v(*shape), -1))

    def w(self, *shape: int) -> Any:
        """Return uniform variates, a leaf."""
        return self.leaf(self.p(*shape))

    def v(self, *shape: int) -> Any:
        """Return normal variates."""
        return self.torch.randn(*shape)

    def p(self, *shape: int) -> Any:
        """Return uniform variates."""
        return self.torch.rand(*shape)

    def s(self, *shape: int) -> Any:
        """Return signs."""
        return self.torch.sign(self.v(*shape))

    def i(self, bound: int, *shape: int) -> Any:
        """Return indices below the bound."""
        self.bound = bound
        return self.torch.randint(0, bound, shape)

    def m(self, bound: int, *shape: int) -> Any:
        """Return four indices below the bound in each row, followed by -1."""
        labels = self.i(bound, *shape)
        labels[:, 4:] = -1
        return labels

    def f(self, count: int, value: int) -> Any:
        """Return a vector of one value."""
        return self.torch.full((count,), value)

    def o(self, count: int, bags: int) -> Any:
        """Return the offsets of bags that share `count` indices evenly."""
        return self.torch.arange(0, count, count // bags)

    def u(self, dims: int, *shape: int) -> tuple[Any, Any]:
        """Return maxima over windows of two, a leaf, and their indices."""
        pool = getattr(self.torch.nn.functional, f"max_pool{dims}d")
        values, indices = pool(self.v(*shape), 2, return_indices=True)
        return self.leaf(values), indices


def differentiate(text: str, sizes: str) -> Build:
    """Return a module's call and its gradients by the inputs' leaves and the parameters."""

    def build(torch: Any) -> Body:
        made = Inputs(torch)
        names = {name: getattr(made, name) for name in "nwqvpsimfou"}
        inputs = eval(f"({sizes},)", names)
        shape = inputs[0].shape
        scope = {"C": shape[:2][-1], "L": shape[-1], "R": made.bound, "int": int}
        module = eval(text, scope | vars(torch.nn))
        leaves = [*made.leaves, *module.parameters()]
        grad = torch.autograd.grad

        def call() -> Any:
            output = module(*inputs)
            return output[0] if isinstance(output, tuple) else output

        seed = torch.ones_like(call())

        def step() -> Any:
            return grad(call(), leaves, seed, allow_unused=True)

        return "step()", {"step": step}

    return build


def make_rows() -> Iterator[Workload]:
    """Yield the group's workloads."""
    for sizes, texts in MODULES.items():
        for text in texts.split():
            for name, size in zip(("small", "large"), sizes, strict=True):
                yield Workload("modules", f"{text}, {name}", differentiate(text, size))


WORKLOADS = tuple(make_rows())
