"""Modules and functions of `nn` beside PyTorch's: start values, printing, results and gradients."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import flambeau  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]


# Inputs are described by (kind, *shape): "f" normal, "p" in (0, 1), "t" of -1 or 1, "b" of 0 or 1,
# "iN" integers below N.
def make_array(spec: tuple, rng: np.random.Generator) -> np.ndarray:
    kind, *shape = spec
    if kind == "f":
        return rng.standard_normal(shape).astype(np.float32)
    if kind == "p":
        return rng.uniform(0.05, 0.95, shape).astype(np.float32)
    if kind == "t":
        return (rng.integers(0, 2, shape) * 2 - 1).astype(np.float32)
    if kind == "b":
        return rng.integers(0, 2, shape).astype(np.float32)
    return rng.integers(0, int(kind[1:]), shape)


def make_inputs(specs: list[tuple], library) -> list:
    rng = np.random.default_rng(7)
    made = []
    for spec in specs:
        array = make_array(spec, rng)
        tensor = library.from_numpy(array.copy())
        if spec[0] == "f":
            tensor.requires_grad_(True)
        made.append(tensor)
    return made


def flatten(value) -> list:
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in flatten(part)]
    return [value]


def check_close(ours, theirs, what: str, tolerance: float = 1e-4) -> None:
    assert str(ours.dtype).rsplit(".", 1)[-1] == str(theirs.dtype).rsplit(".", 1)[-1], what
    assert tuple(ours.shape) == tuple(theirs.shape), what
    np.testing.assert_allclose(
        ours.detach().numpy(), theirs.detach().numpy(), tolerance, tolerance, err_msg=what
    )


def backward(outputs: list, library) -> None:
    """Backward from a weighted sum of all floating outputs, so that no gradient is even."""
    total = None
    for output in outputs:
        if output.requires_grad:
            weights = library.arange(1.0, output.numel() + 1).reshape(output.shape)
            part = (output * (weights * 0.37).sin()).sum()
            total = part if total is None else total + part
    if total is not None:
        total.backward()


def compare_runs(run, specs: list[tuple]) -> None:
    """Run with each library's inputs; compare outputs and the gradients of the inputs."""
    results = []
    for library in (flambeau, torch):
        inputs = make_inputs(specs, library)
        library.manual_seed(3)
        outputs = flatten(run(library, inputs))
        backward(outputs, library)
        results.append((inputs, outputs))
    (our_inputs, ours), (their_inputs, theirs) = results
    assert len(ours) == len(theirs)
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        check_close(a, b, f"output {position}")
    for position, (a, b) in enumerate(zip(our_inputs, their_inputs, strict=True)):
        if b.grad is not None or a.grad is not None:
            check_close(a.grad, b.grad, f"gradient of input {position}")


N2 = [("f", 4, 6)]
N3 = [("f", 2, 6, 9)]
N4 = [("f", 2, 6, 8, 9)]
N5 = [("f", 2, 4, 5, 6, 7)]
PAIR = [("f", 4, 6), ("f", 4, 6)]

MODULES = [
    ("Identity", (), {}, N2),
    ("Linear", (6, 3), {}, N2),
    ("Linear", (6, 3), {"bias": False}, [("f", 2, 5, 6)]),
    ("Bilinear", (6, 6, 3), {}, PAIR),
    ("Conv1d", (6, 4, 3), {"stride": 2, "padding": 1}, N3),
    ("Conv1d", (6, 4, 3), {"padding": "same", "dilation": 2}, N3),
    ("Conv1d", (6, 4, 3), {"padding": 1, "padding_mode": "circular"}, N3),
    ("Conv2d", (6, 4, 3), {}, N4),
    ("Conv2d", (6, 4, (3, 2)), {"groups": 2, "padding": (1, 0), "bias": False}, N4),
    ("Conv2d", (6, 4, 3), {"padding": "same", "padding_mode": "reflect"}, N4),
    ("Conv2d", (6, 6, 3), {"padding": 2, "padding_mode": "replicate", "stride": 2}, N4),
    ("Conv2d", (6, 4, 4), {"padding": "same"}, N4),
    ("Conv2d", (6, 4, 3), {"padding": "valid"}, [("f", 6, 8, 8)]),
    ("Conv3d", (4, 2, 3), {"padding": 1, "stride": (1, 2, 2)}, N5),
    ("ConvTranspose1d", (6, 4, 3), {"stride": 2, "output_padding": 1}, N3),
    ("ConvTranspose2d", (6, 4, 3), {"stride": 2, "padding": 1, "groups": 2}, N4),
    ("ConvTranspose3d", (4, 2, 2), {"dilation": 2, "bias": False}, N5),
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, N3),
    ("MaxPool2d", (2,), {}, N4),
    ("MaxPool2d", ((3, 2),), {"return_indices": True, "ceil_mode": True}, N4),
    ("MaxPool2d", (3,), {"dilation": 2, "stride": 1, "padding": 1}, N4),
    ("MaxPool3d", (2,), {}, N5),
    ("AvgPool1d", (3,), {"padding": 1, "count_include_pad": False}, N3),
    ("AvgPool2d", (2,), {"stride": 1}, N4),
    ("AvgPool2d", (3,), {"padding": 1, "divisor_override": 5}, N4),
    ("AvgPool3d", (2,), {"ceil_mode": True}, N5),
    ("LPPool1d", (2, 3), {}, [("p", 2, 6, 9)]),
    ("LPPool2d", (1.5, 2), {"stride": 1}, [("p", 2, 6, 8, 9)]),
    ("LPPool3d", (2, 2), {}, [("p", 2, 4, 5, 6, 7)]),
    ("AdaptiveAvgPool1d", (4,), {}, N3),
    ("AdaptiveAvgPool2d", ((3, None),), {}, N4),
    ("AdaptiveAvgPool3d", (2,), {}, N5),
    ("AdaptiveMaxPool1d", (4,), {"return_indices": True}, N3),
    ("AdaptiveMaxPool2d", ((3, 5),), {}, N4),
    ("AdaptiveMaxPool3d", (2,), {}, N5),
    ("BatchNorm1d", (6,), {}, N2),
    ("BatchNorm1d", (6,), {"momentum": None}, N3),
    ("BatchNorm2d", (6,), {"affine": False}, N4),
    ("BatchNorm2d", (6,), {"track_running_stats": False}, N4),
    ("BatchNorm3d", (4,), {"momentum": 0.3, "eps": 1e-3}, N5),
    ("InstanceNorm1d", (6,), {}, N3),
    ("InstanceNorm2d", (6,), {"affine": True, "track_running_stats": True}, N4),
    ("InstanceNorm2d", (6,), {}, [("f", 6, 4, 5)]),
    ("InstanceNorm3d", (4,), {"affine": True}, N5),
    ("LayerNorm", (9,), {}, N3),
    ("LayerNorm", ((6, 9),), {"bias": False}, N3),
    ("LayerNorm", (9,), {"elementwise_affine": False}, N3),
    ("GroupNorm", (3, 6), {}, N4),
    ("GroupNorm", (2, 6), {"affine": False}, N3),
    ("RMSNorm", (9,), {}, N3),
    ("RMSNorm", ((6, 9),), {"eps": 1e-3}, N3),
    ("LocalResponseNorm", (3,), {}, N4),
    ("LocalResponseNorm", (2,), {"alpha": 0.5}, N3),
    ("CrossMapLRN2d", (3,), {}, [("p", 2, 6, 4, 4)]),
    ("Embedding", (10, 3), {}, [("i10", 4, 5)]),
    ("Embedding", (10, 3), {"padding_idx": -1, "max_norm": 1.0}, [("i10", 4, 5)]),
    ("Embedding", (10, 3), {"scale_grad_by_freq": True}, [("i10", 4, 5)]),
    ("EmbeddingBag", (10, 3), {}, [("i10", 4, 5)]),
    ("EmbeddingBag", (10, 3), {"mode": "sum", "padding_idx": 2}, [("i10", 4, 5)]),
    ("EmbeddingBag", (10, 3), {"mode": "max"}, [("i10", 4, 5)]),
    ("CELU", (0.5,), {}, N2),
    ("ELU", (0.5,), {}, N2),
    ("GELU", (), {}, N2),
    ("GELU", ("tanh",), {}, N2),
    ("GLU", (), {}, N2),
    ("Hardshrink", (), {}, N2),
    ("Hardsigmoid", (), {}, N2),
    ("Hardswish", (), {}, N2),
    ("Hardtanh", (-0.5, 0.7), {}, N2),
    ("LeakyReLU", (0.2,), {}, N2),
    ("LogSigmoid", (), {}, N2),
    ("LogSoftmax", (1,), {}, N2),
    ("Mish", (), {}, N2),
    ("PReLU", (6,), {"init": 0.1}, N3),
    ("RReLU", (), {}, N2),
    ("ReLU", (), {}, N2),
    ("ReLU6", (), {}, N2),
    ("SELU", (), {}, N2),
    ("SiLU", (), {}, N2),
    ("Sigmoid", (), {}, N2),
    ("Softmax", (1,), {}, N2),
    ("Softmax2d", (), {}, N4),
    ("Softmin", (0,), {}, N2),
    ("Softplus", (2.0,), {}, N2),
    ("Softshrink", (), {}, N2),
    ("Softsign", (), {}, N2),
    ("Tanh", (), {}, N2),
    ("Tanhshrink", (), {}, N2),
    ("Threshold", (0.1, 20.0), {}, N2),
    ("Dropout", (0.3,), {}, N2),
    ("Dropout1d", (0.3,), {}, N3),
    ("Dropout2d", (0.3,), {}, N4),
    ("Dropout3d", (0.3,), {}, N5),
    ("AlphaDropout", (0.3,), {}, N2),
    ("FeatureAlphaDropout", (0.3,), {}, N4),
    ("MultiheadAttention", (6, 2), {}, [("f", 5, 3, 6)] * 3),
    ("MultiheadAttention", (6, 3), {"batch_first": True, "bias": False}, [("f", 5, 3, 6)] * 3),
    (
        "MultiheadAttention",
        (6, 2),
        {"add_bias_kv": True, "add_zero_attn": True},
        [("f", 5, 3, 6)] * 3,
    ),
    (
        "MultiheadAttention",
        (6, 2),
        {"kdim": 4, "vdim": 7},
        [("f", 5, 3, 6), ("f", 8, 3, 4), ("f", 8, 3, 7)],
    ),
    ("MultiheadAttention", (6, 2), {"dropout": 0.2}, [("f", 5, 6), ("f", 7, 6), ("f", 7, 6)]),
    ("RNN", (6, 4), {}, [("f", 5, 3, 6)]),
    ("RNN", (6, 4, 2, "relu"), {"bidirectional": True}, [("f", 5, 3, 6), ("f", 4, 3, 4)]),
    ("GRU", (6, 4), {"num_layers": 2, "bias": False}, [("f", 5, 3, 6)]),
    ("GRU", (6, 4), {"bidirectional": True, "batch_first": True}, [("f", 3, 5, 6)]),
    ("LSTM", (6, 4), {}, [("f", 5, 6)]),
    ("LSTM", (6, 4), {"num_layers": 2, "dropout": 0.4, "bidirectional": True}, [("f", 5, 3, 6)]),
    ("LSTM", (6, 5), {"proj_size": 2, "num_layers": 2, "bidirectional": True}, [("f", 5, 3, 6)]),
    ("RNNCell", (6, 4), {}, [("f", 3, 6)]),
    ("RNNCell", (6, 4), {"nonlinearity": "relu", "bias": False}, [("f", 3, 6), ("f", 3, 4)]),
    ("GRUCell", (6, 4), {}, [("f", 3, 6), ("f", 3, 4)]),
    ("LSTMCell", (6, 4), {}, [("f", 6)]),
    ("TransformerEncoderLayer", (6, 2, 8), {}, [("f", 5, 3, 6)]),
    (
        "TransformerEncoderLayer",
        (6, 2, 8),
        {"norm_first": True, "activation": "gelu", "batch_first": True, "bias": False},
        [("f", 5, 3, 6)],
    ),
    ("TransformerDecoderLayer", (6, 2, 8), {"dropout": 0.0}, [("f", 5, 3, 6), ("f", 4, 3, 6)]),
    ("TransformerDecoderLayer", (6, 2, 8), {"norm_first": True}, [("f", 5, 3, 6), ("f", 4, 3, 6)]),
    (
        "Transformer",
        (6, 2, 2, 2, 8),
        {"batch_first": True},
        [("f", 3, 4, 6), ("f", 3, 5, 6)],
    ),
    ("L1Loss", (), {}, PAIR),
    ("MSELoss", (), {"reduction": "sum"}, PAIR),
    ("MSELoss", (), {}, PAIR),
    ("SmoothL1Loss", (), {"beta": 0.5}, PAIR),
    ("SmoothL1Loss", (), {"beta": 0.0, "reduction": "none"}, PAIR),
    ("HuberLoss", (), {"delta": 0.7}, PAIR),
    ("CrossEntropyLoss", (), {}, [("f", 4, 6), ("i6", 4)]),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.2}, [("f", 2, 6, 5), ("i6", 2, 5)]),
    ("CrossEntropyLoss", (), {"ignore_index": 2, "reduction": "none"}, [("f", 9, 6), ("i6", 9)]),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.1, "ignore_index": 1}, [("f", 9, 6), ("i6", 9)]),
    ("CrossEntropyLoss", (), {}, [("f", 4, 6), ("p", 4, 6)]),
    ("CrossEntropyLoss", (), {"label_smoothing": 0.1}, [("f", 6), ("p", 6)]),
    ("CrossEntropyLoss", (), {}, [("f", 6), ("i6",)]),
    ("NLLLoss", (), {"ignore_index": 3}, [("f", 4, 6, 5), ("i6", 4, 5)]),
    ("NLLLoss2d", (), {"reduction": "sum"}, [("f", 4, 6, 3, 2), ("i6", 4, 3, 2)]),
    ("BCELoss", (), {}, [("p", 4, 6), ("b", 4, 6)]),
    ("BCEWithLogitsLoss", (), {}, [("f", 4, 6), ("p", 4, 6)]),
    ("KLDivLoss", (), {"reduction": "batchmean"}, [("f", 4, 6), ("p", 4, 6)]),
    ("KLDivLoss", (), {"log_target": True}, PAIR),
    ("PoissonNLLLoss", (), {"full": True}, [("f", 4, 6), ("i5", 4, 6)]),
    ("PoissonNLLLoss", (), {"log_input": False}, [("p", 4, 6), ("i5", 4, 6)]),
    ("GaussianNLLLoss", (), {"full": True}, [("f", 4, 6), ("f", 4, 6), ("p", 4, 6)]),
    ("GaussianNLLLoss", (), {}, [("f", 4, 6), ("f", 4, 6), ("p", 4)]),
    ("HingeEmbeddingLoss", (), {}, [("f", 4, 6), ("t", 4, 6)]),
    ("CosineEmbeddingLoss", (0.1,), {}, [("f", 4, 6), ("f", 4, 6), ("t", 4)]),
    ("MarginRankingLoss", (0.2,), {}, [("f", 6), ("f", 6), ("t", 6)]),
    ("MultiMarginLoss", (), {}, [("f", 4, 6), ("i6", 4)]),
    ("MultiMarginLoss", (2, 0.5), {"reduction": "none"}, [("f", 4, 6), ("i6", 4)]),
    ("MultiLabelSoftMarginLoss", (), {}, [("f", 4, 6), ("b", 4, 6)]),
    ("SoftMarginLoss", (), {}, [("f", 4, 6), ("t", 4, 6)]),
    ("TripletMarginLoss", (), {"swap": True}, [("f", 4, 6)] * 3),
    ("TripletMarginWithDistanceLoss", (), {"margin": 0.5}, [("f", 4, 6)] * 3),
    ("PairwiseDistance", (), {"keepdim": True}, PAIR),
    ("PairwiseDistance", (1.0,), {}, PAIR),
    ("CosineSimilarity", (), {}, PAIR),
    ("ConstantPad1d", (2, 3.5), {}, N3),
    ("ConstantPad2d", ((1, 2, 0, 3), 3.5), {}, N4),
    ("ConstantPad3d", (1, 0.5), {}, N5),
    ("ZeroPad1d", (1,), {}, N3),
    ("ZeroPad2d", (1,), {}, N4),
    ("ZeroPad3d", (1,), {}, N5),
    ("ReflectionPad1d", (2,), {}, N3),
    ("ReflectionPad2d", ((1, 2, 3, 0),), {}, N4),
    ("ReflectionPad3d", (1,), {}, N5),
    ("ReplicationPad1d", (2,), {}, N3),
    ("ReplicationPad2d", (1,), {}, N4),
    ("ReplicationPad3d", (1,), {}, N5),
    ("CircularPad1d", (2,), {}, N3),
    ("CircularPad2d", (1,), {}, N4),
    ("CircularPad3d", (1,), {}, N5),
    ("Upsample", (), {"scale_factor": 2}, N4),
    ("Upsample", (), {"size": (5, 6), "mode": "bilinear"}, N4),
    ("Upsample", (), {"scale_factor": 2, "mode": "linear", "align_corners": True}, N3),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, N4),
    ("UpsamplingBilinear2d", (), {"size": (10, 11)}, N4),
    ("PixelShuffle", (2,), {}, [("f", 2, 8, 3, 4)]),
    ("PixelUnshuffle", (2,), {}, [("f", 2, 3, 6, 4)]),
    ("ChannelShuffle", (3,), {}, N4),
    ("Flatten", (), {}, N4),
    ("Flatten", (0, 1), {}, N4),
    ("Unflatten", (1, (2, -1)), {}, N2),
    ("Fold", ((4, 5), (2, 2)), {}, [("f", 2, 12, 12)]),
    ("Unfold", ((2, 3),), {"padding": 1, "stride": 2}, N4),
]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("name", "args", "kwargs", "specs"),
    MODULES,
    ids=[f"{i}-{case[0]}" for i, case in enumerate(MODULES)],
)
def test_module(name, args, kwargs, specs, training):
    built = []
    for library in (flambeau, torch):
        library.manual_seed(11)
        module = getattr(library.nn, name)(*args, **kwargs)
        module.train(training)
        built.append(module)
    ours, theirs = built
    assert repr(ours) == repr(theirs)
    compare_state(ours, theirs, 1e-6)

    def run(library, inputs):
        module = ours if library is flambeau else theirs
        if len(inputs) == 2 and name in ("LSTM",):
            return module(inputs[0], tuple(inputs[1:]))
        return module(*inputs)

    compare_runs(run, specs)
    compare_state(ours, theirs, 1e-4)  # running statistics and rows scaled by max_norm
    for (key, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        if b.grad is not None:
            check_close(a.grad, b.grad, f"gradient of {key}", 3e-4)


COMPUTED_HERE = {"_flat_weights", "_flat_weights_names", "_flat_weight_refs", "_all_weights"}


@pytest.mark.parametrize("name", sorted({case[0] for case in MODULES}))
def test_attributes_are_those_of_pickled_modules(name):
    """Whole modules are pickled by their attributes: names and values must be the same."""
    args, kwargs = next(case[1:3] for case in MODULES if case[0] == name)
    ours = vars(getattr(flambeau.nn, name)(*args, **kwargs))
    theirs = vars(getattr(torch.nn, name)(*args, **kwargs))
    assert set(theirs) - set(ours) <= COMPUTED_HERE | {"activation_relu_or_gelu"}
    assert set(ours) <= set(theirs)
    for key, value in ours.items():
        if isinstance(value, (bool, int, float, str, tuple, list)) or value is None:
            assert type(value) is type(theirs[key]), key
            assert value == theirs[key], key


def compare_state(ours, theirs, tolerance: float) -> None:
    our_state, their_state = ours.state_dict(), theirs.state_dict()
    assert list(our_state) == list(their_state)
    assert our_state._metadata == their_state._metadata
    for key, value in their_state.items():
        check_close(our_state[key], value, key, tolerance)


WEIGHTED = [
    ("CrossEntropyLoss", {}, [("f", 4, 6, 3), ("i6", 4, 3)], 6),
    ("CrossEntropyLoss", {"ignore_index": 2, "label_smoothing": 0.3}, [("f", 9, 6), ("i6", 9)], 6),
    ("CrossEntropyLoss", {"label_smoothing": 0.3}, [("f", 9, 6), ("p", 9, 6)], 6),
    ("NLLLoss", {"ignore_index": 2}, [("f", 9, 6), ("i6", 9)], 6),
    ("MultiMarginLoss", {}, [("f", 9, 6), ("i6", 9)], 6),
    ("BCELoss", {}, [("p", 4, 6), ("p", 4, 6)], 6),
    ("BCEWithLogitsLoss", {}, [("f", 4, 6), ("p", 4, 6)], 6),
    ("MultiLabelSoftMarginLoss", {}, [("f", 4, 6), ("b", 4, 6)], 6),
]


@pytest.mark.parametrize(("name", "kwargs", "specs", "size"), WEIGHTED)
def test_weighted_loss(name, kwargs, specs, size):
    factors = np.linspace(0.5, 2.0, size, dtype=np.float32)
    compare_runs(
        lambda library, inputs: getattr(library.nn, name)(
            weight=library.from_numpy(factors.copy()), **kwargs
        )(*inputs),
        specs,
    )


def test_bce_with_logits_pos_weight():
    factors = np.linspace(0.5, 2.0, 6, dtype=np.float32)
    compare_runs(
        lambda library, x: library.nn.BCEWithLogitsLoss(
            pos_weight=library.from_numpy(factors.copy())
        )(*x),
        [("f", 4, 6), ("p", 4, 6)],
    )


def test_multilabel_margin_loss():
    labels = np.array([[3, 0, -1, 1], [1, -1, 2, 2], [-1, 0, 0, 0]])
    for target, spec in ((labels, ("f", 3, 4)), (labels[0], ("f", 4))):
        compare_runs(
            lambda library, x, target=target: library.nn.MultiLabelMarginLoss()(
                x[0], library.from_numpy(target)
            ),
            [spec],
        )


FUNCTIONS = {
    "logsigmoid_at_zero": (lambda lib, x: lib.nn.functional.logsigmoid(x[0] * 0), N2),
    "bce_logits_at_zero": (
        lambda lib, x: lib.nn.functional.binary_cross_entropy_with_logits(x[0] * 0, x[1]),
        [("f", 4, 6), ("p", 4, 6)],
    ),
    "normalize": (lambda lib, x: lib.nn.functional.normalize(x[0], p=3, dim=0), N2),
    "gumbel_softmax": (lambda lib, x: lib.nn.functional.gumbel_softmax(x[0], tau=0.7), N2),
    "gumbel_hard": (lambda lib, x: lib.nn.functional.gumbel_softmax(x[0], hard=True), N2),
    "pdist": (lambda lib, x: lib.nn.functional.pdist(x[0], 3), N2),
    "one_hot": (lambda lib, x: lib.nn.functional.one_hot(x[0], 8), [("i6", 3, 4)]),
    "affine_grid": (
        lambda lib, x: lib.nn.functional.affine_grid(x[0], [2, 3, 4, 5], align_corners=False),
        [("f", 2, 2, 3)],
    ),
    "affine_grid_3d": (
        lambda lib, x: lib.nn.functional.affine_grid(x[0], [2, 3, 4, 5, 1], align_corners=True),
        [("f", 2, 3, 4)],
    ),
    "embedding_bag_offsets": (
        lambda lib, x: lib.nn.functional.embedding_bag(x[1], x[0], lib.tensor([0, 2, 2, 5])),
        [("f", 10, 3), ("i10", 8)],
    ),
    "embedding_bag_weights": (
        lambda lib, x: lib.nn.functional.embedding_bag(
            x[1],
            x[0],
            lib.tensor([0, 3, 8]),
            mode="sum",
            per_sample_weights=x[2],
            include_last_offset=True,
        ),
        [("f", 10, 3), ("i10", 8), ("f", 8)],
    ),
    "sdpa": (
        lambda lib, x: lib.nn.functional.scaled_dot_product_attention(*x),
        [("f", 2, 3, 5, 4), ("f", 2, 3, 6, 4), ("f", 2, 3, 6, 7)],
    ),
    "sdpa_causal": (
        lambda lib, x: lib.nn.functional.scaled_dot_product_attention(
            *x, is_causal=True, scale=0.3
        ),
        [("f", 2, 3, 5, 4), ("f", 2, 3, 6, 4), ("f", 2, 3, 6, 7)],
    ),
    "sdpa_masked_rows": (
        lambda lib, x: lib.nn.functional.scaled_dot_product_attention(
            *x, attn_mask=lib.tensor([[True, False, True], [False, False, False]])
        ),
        [("f", 2, 2, 4), ("f", 2, 3, 4), ("f", 2, 3, 7)],
    ),
    "sdpa_float_mask": (
        lambda lib, x: lib.nn.functional.scaled_dot_product_attention(*x[:3], attn_mask=x[3]),
        [("f", 2, 2, 4), ("f", 2, 3, 4), ("f", 2, 3, 7), ("f", 2, 3)],
    ),
    "sdpa_gqa": (
        lambda lib, x: lib.nn.functional.scaled_dot_product_attention(*x, enable_gqa=True),
        [("f", 2, 4, 5, 4), ("f", 2, 2, 6, 4), ("f", 2, 2, 6, 7)],
    ),
    "mse_weight": (
        lambda lib, x: lib.nn.functional.mse_loss(x[0], x[1], weight=x[2]),
        [("f", 4, 6), ("f", 4, 6), ("p", 4, 6)],
    ),
    "conv_transpose_output_size": (
        lambda lib, x: lib.nn.functional.conv_transpose1d(x[0], x[1], stride=3, output_padding=2),
        [("f", 2, 6, 9), ("f", 6, 4, 3)],
    ),
    "triplet_none": (
        lambda lib, x: lib.nn.functional.triplet_margin_loss(*x, p=1, reduction="none"),
        [("f", 2, 4, 6)] * 3,
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name):
    run, specs = FUNCTIONS[name]
    compare_runs(run, specs)


def test_max_unpool():
    def run(library, inputs):
        values, where = library.nn.functional.max_pool2d(inputs[0], 2, return_indices=True)
        unpool = library.nn.MaxUnpool2d(2)
        assert "kernel_size=(2, 2), stride=(2, 2), padding=(0, 0)" in repr(unpool)
        return unpool(values, where), unpool(values, where, output_size=[8, 9])

    compare_runs(run, [("f", 2, 6, 8, 8)])


def test_conv_transpose_output_size():
    def run(library, inputs):
        library.manual_seed(0)
        layer = library.nn.ConvTranspose2d(6, 3, 3, stride=2, padding=1)
        return layer(inputs[0], output_size=(16, 18)), layer(inputs[0], output_size=(2, 3, 15, 17))

    compare_runs(run, N4)


@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("joined", [False, True])
def test_ctc_loss(reduction, joined, zero_infinity):
    rows = np.array([[1, 2, 2, 3], [4, 1, 0, 0], [2, 0, 0, 0]])
    lengths = [4, 2, 0]
    flat = np.concatenate([row[:n] for row, n in zip(rows, lengths, strict=True)])

    def run(library, inputs):
        target = library.from_numpy(flat if joined else rows)
        return library.nn.CTCLoss(reduction=reduction, zero_infinity=zero_infinity)(
            inputs[0].log_softmax(-1), target, library.tensor([8, 5, 7]), library.tensor(lengths)
        )

    compare_runs(run, [("f", 8, 3, 5)])


def test_ctc_loss_that_cannot_be_met_is_infinite_or_zero():
    def run(library, inputs):
        return library.nn.functional.ctc_loss(
            inputs[0].log_softmax(-1),
            library.tensor([[1, 1, 1]]),
            library.tensor([4]),
            library.tensor([3]),
            zero_infinity=True,
        )

    compare_runs(run, [("f", 4, 1, 3)])


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_sequence(name, bidirectional):
    def run(library, inputs):
        library.manual_seed(1)
        layer = getattr(library.nn, name)(6, 4, num_layers=2, bidirectional=bidirectional)
        rnn = library.nn.utils.rnn
        packed = rnn.pack_padded_sequence(inputs[0], [2, 5, 3, 5], enforce_sorted=False)
        output, state = layer(packed)
        padded, lengths = rnn.pad_packed_sequence(output, total_length=7, padding_value=0.5)
        return padded, lengths, state, packed.data, packed.batch_sizes, list(packed[2:])

    compare_runs(run, [("f", 5, 4, 6)])


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("mask_kind", ["none", "bool", "float", "3d"])
def test_attention_masks(mask_kind, need_weights):
    rng = np.random.default_rng(0)
    masks = {
        "bool": rng.uniform(size=(5, 7)) < 0.3,
        "float": rng.standard_normal((5, 7)).astype(np.float32),
        "3d": rng.standard_normal((6, 5, 7)).astype(np.float32),
    }
    padding = np.zeros((3, 7), dtype=bool)
    padding[1, 5:] = True

    def run(library, inputs):
        library.manual_seed(1)
        attention = library.nn.MultiheadAttention(6, 2)
        mask = library.from_numpy(masks[mask_kind]) if mask_kind in masks else None
        return attention(
            *inputs,
            attn_mask=mask,
            key_padding_mask=library.from_numpy(padding),
            need_weights=need_weights,
            average_attn_weights=mask_kind == "bool",
        )

    compare_runs(run, [("f", 5, 3, 6), ("f", 7, 3, 6), ("f", 7, 3, 6)])


def test_causal_encoder_and_decoder():
    def run(library, inputs):
        library.manual_seed(1)
        nn = library.nn
        model = nn.Transformer(6, 2, 1, 1, 8, dropout=0.0)
        mask = nn.Transformer.generate_square_subsequent_mask(5)
        src_mask = nn.Transformer.generate_square_subsequent_mask(4)
        return model(
            inputs[0], inputs[1], src_mask=src_mask, tgt_mask=mask, tgt_is_causal=True
        ), model(inputs[0], inputs[1], tgt_mask=mask)

    compare_runs(run, [("f", 4, 3, 6), ("f", 5, 3, 6)])


INITS = [
    ("uniform_", (-2.0, 3.0), (5, 4)),
    ("normal_", (1.0, 2.0), (5, 4)),
    ("trunc_normal_", (0.0, 1.0, -0.5, 0.7), (50, 4)),
    ("trunc_normal_", (0.0, 0.02), (50, 4)),
    ("trunc_normal_", (0.0, 1.0, 0.5, 0.7), (50, 4)),
    ("constant_", (0.3,), (3,)),
    ("ones_", (), (3,)),
    ("zeros_", (), (3,)),
    ("eye_", (), (3, 5)),
    ("dirac_", (2,), (4, 3, 5)),
    ("dirac_", (), (4, 3, 3, 3)),
    ("xavier_uniform_", (0.5,), (5, 4, 3)),
    ("xavier_normal_", (0.5,), (5, 4)),
    ("kaiming_uniform_", (0.2, "fan_out"), (5, 4, 3)),
    ("kaiming_normal_", (0, "fan_in", "relu"), (5, 4)),
    ("orthogonal_", (2.0,), (5, 3)),
    ("orthogonal_", (), (3, 2, 4)),
    ("sparse_", (0.3,), (10, 4)),
]


@pytest.mark.parametrize(("name", "args", "shape"), INITS)
def test_init_draws_the_same_values(name, args, shape):
    drawn = []
    for library in (flambeau, torch):
        library.manual_seed(5)
        tensor = library.empty(shape)
        result = getattr(library.nn.init, name)(tensor, *args)
        assert result is tensor
        drawn.append(tensor)
    check_close(*drawn, name, 1e-5)


@pytest.mark.parametrize(
    ("nonlinearity", "param"),
    [("linear", None), ("tanh", None), ("relu", None), ("leaky_relu", 0.3), ("selu", None)],
)
def test_gain(nonlinearity, param):
    ours = flambeau.nn.init.calculate_gain(nonlinearity, param)
    assert ours == torch.nn.init.calculate_gain(nonlinearity, param)


def build_nested(nn):
    return nn.Sequential(
        nn.Linear(2, 3),
        nn.ModuleList([nn.ReLU(), nn.ReLU(), nn.Linear(3, 1), nn.Linear(3, 1)]),
        nn.ModuleDict({"a": nn.Tanh(), "b": nn.Sequential(nn.Dropout(0.1))}),
        nn.LSTM(3, 4, 2),
        nn.MultiheadAttention(4, 2),
    )


def test_nested_repr():
    assert repr(build_nested(flambeau.nn)) == repr(build_nested(torch.nn))


def test_parameter_containers_repr():
    for container, content in (
        ("ParameterList", lambda lib: [lib.zeros(2, 3), lib.ones(1), "text"]),
        ("ParameterDict", lambda lib: {"b": lib.zeros(2, 3), "a": lib.ones(())}),
    ):
        shown = [
            repr(getattr(library.nn, container)(content(library))) for library in (flambeau, torch)
        ]
        assert shown[0].replace("flambeau.", "torch.") == shown[1]


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clip_grad_norm(norm_type):
    def run(library, inputs):
        for tensor in inputs:
            (tensor * tensor).sum().backward()
        total = library.nn.utils.clip_grad_norm_(inputs, 1.5, norm_type)
        grads = [tensor.grad.clone() for tensor in inputs]
        library.nn.utils.clip_grad_value_(inputs, 0.1)
        return total, grads

    compare_runs(run, [("f", 4, 6), ("f", 3)])


def describe_error(call) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except Exception as error:
            return type(error).__name__, str(error)
    return "no error", ""


ERRORS = {
    "missing_forward": lambda lib: lib.nn.Module()(1),
    "init_argument": lambda lib: lib.nn.Module(3),
    "init_keyword": lambda lib: lib.nn.Module(size=3),
    "unknown_attribute": lambda lib: lib.nn.Linear(2, 2).nothing,
    "parameter_by_tensor": lambda lib: setattr(lib.nn.Linear(2, 2), "bias", 3),
    "module_by_number": lambda lib: setattr(lib.nn.Sequential(lib.nn.ReLU()), "0", 3),
    "buffer_by_number": lambda lib: setattr(lib.nn.BatchNorm1d(2), "running_mean", 3),
    "module_by_parameter": lambda lib: setattr(lib.nn.Linear(2, 2), "bias", lib.nn.ReLU()),
    "dotted_name": lambda lib: lib.nn.Module().register_buffer("a.b", None),
    "empty_name": lambda lib: lib.nn.Module().add_module("", lib.nn.ReLU()),
    "name_taken": lambda lib: lib.nn.Linear(2, 2).register_parameter("forward", None),
    "add_no_module": lambda lib: lib.nn.Module().add_module("a", 3),
    "non_leaf": lambda lib: lib.nn.Module().register_parameter("a", lib.nn.Linear(2, 2).weight * 2),
    "to_int": lambda lib: lib.nn.Linear(2, 2).to(lib.int64),
    "train_none": lambda lib: lib.nn.Linear(2, 2).train(None),
    "get_submodule": lambda lib: lib.nn.Sequential(lib.nn.ReLU()).get_submodule("1"),
    "get_parameter": lambda lib: lib.nn.Linear(2, 2).get_parameter("gain"),
    "get_buffer": lambda lib: lib.nn.Linear(2, 2).get_buffer("weight"),
    "load_keys": lambda lib: lib.nn.Linear(2, 2).load_state_dict({"a": lib.ones(1)}),
    "load_shape": lambda lib: lib.nn.Linear(2, 2).load_state_dict(lib.nn.Linear(3, 2).state_dict()),
    "load_list": lambda lib: lib.nn.Linear(2, 2).load_state_dict([1]),
    "load_value": lambda lib: lib.nn.Linear(2, 2, bias=False).load_state_dict({"weight": 3}),
    "conv_groups": lambda lib: lib.nn.Conv2d(3, 4, 3, groups=2),
    "conv_same_stride": lambda lib: lib.nn.Conv2d(3, 4, 3, stride=2, padding="same"),
    "conv_mode": lambda lib: lib.nn.Conv2d(3, 4, 3, padding_mode="mirror"),
    "transpose_size": lambda lib: lib.nn.ConvTranspose1d(2, 2, 3)(
        lib.ones(1, 2, 5), output_size=[99]
    ),
    "batchnorm_dims": lambda lib: lib.nn.BatchNorm2d(3)(lib.ones(2, 3)),
    "batchnorm_one_value": lambda lib: lib.nn.BatchNorm1d(3)(lib.ones(1, 3)),
    "instancenorm_one_value": lambda lib: lib.nn.InstanceNorm1d(3)(lib.ones(2, 3, 1)),
    "groupnorm": lambda lib: lib.nn.GroupNorm(4, 6),
    "dropout": lambda lib: lib.nn.Dropout(1.5),
    "attention_heads": lambda lib: lib.nn.MultiheadAttention(5, 2),
    "attention_dims": lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.ones(4)] * 3),
    "attention_embed": lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.ones(2, 2, 6)] * 3),
    "lstm_dims": lambda lib: lib.nn.LSTM(2, 3)(lib.ones(2)),
    "lstm_size": lambda lib: lib.nn.LSTM(2, 3)(lib.ones(4, 2, 5)),
    "rnn_nonlinearity": lambda lib: lib.nn.RNN(2, 3, nonlinearity="sin"),
    "rnn_dropout": lambda lib: lib.nn.RNN(2, 3, dropout=2),
    "gru_state": lambda lib: lib.nn.GRU(2, 3)(lib.ones(4, 2, 2), lib.ones(1, 3, 3)),
    "gru_proj": lambda lib: lib.nn.GRU(2, 3, proj_size=1),
    "pack_lengths": lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.ones(4, 2, 1), [2, 3]),
    "pack_zero": lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.ones(4, 2, 1), [3, 0]),
    "sequential_index": lambda lib: lib.nn.Sequential(lib.nn.ReLU())[1],
    "sequential_insert": lambda lib: lib.nn.Sequential(lib.nn.ReLU()).insert(5, lib.nn.ReLU()),
    "cross_entropy_batch": lambda lib: lib.nn.functional.cross_entropy(
        lib.ones(3, 4), lib.tensor([1, 2])
    ),
    "cross_entropy_class": lambda lib: lib.nn.functional.cross_entropy(
        lib.ones(2, 4), lib.tensor([1, 4])
    ),
    "label_smoothing": lambda lib: lib.nn.functional.cross_entropy(
        lib.ones(2, 4), lib.tensor([1, 3]), label_smoothing=2.0
    ),
    "bce_shape": lambda lib: lib.nn.functional.binary_cross_entropy_with_logits(
        lib.ones(2), lib.ones(3)
    ),
    "bce_range": lambda lib: lib.nn.functional.binary_cross_entropy(lib.ones(2) * 2, lib.ones(2)),
    "reduction": lambda lib: lib.nn.functional.l1_loss(lib.ones(2), lib.ones(2), reduction="most"),
    "pixel_shuffle": lambda lib: lib.nn.functional.pixel_shuffle(lib.ones(1, 3, 2, 2), 2),
    "one_hot_negative": lambda lib: lib.nn.functional.one_hot(lib.tensor([-1])),
    "glu_odd": lambda lib: lib.nn.functional.glu(lib.ones(3)),
    "unflatten": lambda lib: lib.nn.Unflatten(1, 4.0),
    "gain": lambda lib: lib.nn.init.calculate_gain("sine"),
    "fan": lambda lib: lib.nn.init.xavier_uniform_(lib.ones(3)),
    "triplet_margin": lambda lib: lib.nn.TripletMarginLoss(margin=-1.0),
    "embedding_padding": lambda lib: lib.nn.Embedding(3, 2, padding_idx=5),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    our_class, our_text = describe_error(lambda: ERRORS[name](flambeau))
    their_class, their_text = describe_error(lambda: ERRORS[name](torch))
    assert our_class == their_class
    assert our_class != "no error"
    assert our_text, their_text


EXACT_TEXT = [
    "missing_forward", "unknown_attribute", "parameter_by_tensor", "module_by_number",
    "dotted_name", "empty_name", "name_taken", "add_no_module", "to_int", "load_keys", "load_shape",
    "load_value", "batchnorm_one_value", "cross_entropy_class", "bce_shape", "dropout",
]  # fmt: skip


@pytest.mark.parametrize("name", EXACT_TEXT)
def test_error_text_that_programs_match(name):
    _, ours = describe_error(lambda: ERRORS[name](flambeau))
    _, theirs = describe_error(lambda: ERRORS[name](torch))
    assert ours.replace("flambeau.", "torch.") == theirs


def test_state_dict_travels_between_the_libraries():
    flambeau.manual_seed(1)
    ours, theirs = build_nested(flambeau.nn), build_nested(torch.nn)
    state = {k: torch.from_numpy(v.numpy().copy()) for k, v in ours.state_dict().items()}
    assert str(theirs.load_state_dict(state)) == "<All keys matched successfully>"
    compare_state(ours, theirs, 0)
