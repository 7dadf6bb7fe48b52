"""Corners of nn.utils and func: values and errors beside PyTorch's."""

import copy
import pickle

import pytest

import flambeau
from tests.parity.plain import plain

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def make_linear(t, inputs=3, outputs=4):
    t.manual_seed(0)
    return t.nn.Linear(inputs, outputs)


def make_net(t):
    t.manual_seed(0)
    return t.nn.Sequential(t.nn.Linear(3, 4), t.nn.BatchNorm1d(4), t.nn.Linear(4, 2))


def make_packed(t):
    lengths = (4, 3, 1)
    return t.nn.utils.rnn.pack_sequence([t.arange(float(n)).reshape(n, 1) for n in lengths])


def fill_gradients(t, module):
    for i, p in enumerate(module.parameters()):
        p.grad = t.ones_like(p) * (i + 1)
    return module


def call(module, t, *shape):
    t.manual_seed(7)
    return module(t.randn(*shape))


def make_symmetric(t):
    class Symmetric(t.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x):
            return x.triu()

    return Symmetric()


def make_doubling(t):
    class Doubling(t.nn.Module):
        def forward(self, x):
            return x * 2

    return Doubling()


def make_double_precision(t):
    class DoublePrecision(t.nn.Module):
        def forward(self, x):
            return x.to(t.float64)

    return DoublePrecision()


def make_smaller(t):
    class Smaller(t.nn.Module):
        def forward(self, x):
            return x[0]

    return Smaller()


def make_product(t):
    class Product(t.nn.Module):
        def forward(self, x, y):
            return x @ y

        def right_inverse(self, x):
            return x[:, :1].clone(), x[:1].clone()

    return Product()


CASES = {
    "clip": lambda t: (
        lambda m: [
            t.nn.utils.clip_grad_norm_(m.parameters(), 1.0),
            [p.grad for p in m.parameters()],
        ]
    )(fill_gradients(t, make_linear(t))),
    "clip inf": lambda t: (
        lambda m: [
            t.nn.utils.clip_grad_norm_(m.parameters(), 1.0, norm_type=float("inf")),
            [p.grad for p in m.parameters()],
        ]
    )(fill_gradients(t, make_linear(t))),
    "clip 1": lambda t: (
        lambda m: [
            t.nn.utils.clip_grad_norm_(m.parameters(), 1.0, 1),
            [p.grad for p in m.parameters()],
        ]
    )(fill_gradients(t, make_linear(t))),
    "clip str inf": lambda t: t.nn.utils.clip_grad_norm_(
        fill_gradients(t, make_linear(t)).parameters(), 1.0, "inf"
    ),
    "clip none": lambda t: t.nn.utils.clip_grad_norm_(make_linear(t).parameters(), 1.0),
    "clip empty": lambda t: t.nn.utils.clip_grad_norm_([], 1.0),
    "clip one": lambda t: t.nn.utils.clip_grad_norm_(
        next(fill_gradients(t, make_linear(t)).parameters()), 1.0
    ),
    "clip nan": lambda t: (
        lambda m: [
            m.weight.grad.fill_(float("nan")),
            t.nn.utils.clip_grad_norm_(m.parameters(), 1.0, error_if_nonfinite=True),
        ]
    )(fill_gradients(t, make_linear(t))),
    "clip value": lambda t: (
        lambda m: [
            t.nn.utils.clip_grad_value_(m.parameters(), 1.5),
            [p.grad for p in m.parameters()],
        ]
    )(fill_gradients(t, make_linear(t))),
    "clip deprecated": lambda t: t.nn.utils.clip_grad_norm(
        fill_gradients(t, make_linear(t)).parameters(), 1.0
    ),
    "clip grads_with_norm": lambda t: (
        lambda m: [
            t.nn.utils.clip_grads_with_norm_(m.parameters(), 1.0, t.tensor(4.0)),
            [p.grad for p in m.parameters()],
        ]
    )(fill_gradients(t, make_linear(t))),
    "total norm": lambda t: [
        t.nn.utils.get_total_norm([t.ones(3), t.ones(2) * 2], n) for n in (1, 2, 3.0, float("inf"))
    ],
    "total norm empty": lambda t: t.nn.utils.get_total_norm([]),
    "total norm one": lambda t: t.nn.utils.get_total_norm(t.ones(3)),
    "total norm nonfinite": lambda t: t.nn.utils.get_total_norm(
        [t.tensor([float("inf")])], error_if_nonfinite=True
    ),
    "total norm mixed dtype": lambda t: t.nn.utils.get_total_norm(
        [t.ones(3), t.ones(2, dtype=t.float64)]
    ),
    "vector": lambda t: t.nn.utils.parameters_to_vector(make_linear(t).parameters()),
    "vector back": lambda t: (
        lambda m: [
            t.nn.utils.vector_to_parameters(t.arange(16.0), m.parameters()),
            list(m.parameters()),
        ]
    )(make_linear(t)),
    "vector bad": lambda t: t.nn.utils.vector_to_parameters([1], make_linear(t).parameters()),
    "vector short": lambda t: t.nn.utils.vector_to_parameters(
        t.arange(15.0), make_linear(t).parameters()
    ),
    "vector long": lambda t: t.nn.utils.vector_to_parameters(
        t.arange(19.0), make_linear(t).parameters()
    ),
    "vector empty": lambda t: t.nn.utils.parameters_to_vector([]),
    "functional_call": lambda t: t.func.functional_call(
        make_linear(t), {"weight": t.ones(4, 3)}, (t.ones(2, 3),)
    ),
    "functional_call single": lambda t: t.func.functional_call(
        make_linear(t), {"weight": t.ones(4, 3)}, t.ones(2, 3)
    ),
    "functional_call strict": lambda t: t.func.functional_call(
        make_linear(t), {"weight": t.ones(4, 3)}, t.ones(2, 3), strict=True
    ),
    "functional_call unexpected": lambda t: t.func.functional_call(
        make_linear(t), {"wight": t.ones(4, 3)}, t.ones(2, 3), strict=True
    ),
    "functional_call unexpected2": lambda t: t.func.functional_call(
        make_linear(t), {"wight": t.ones(4, 3)}, t.ones(2, 3)
    ),
    "functional_call list": lambda t: t.func.functional_call(
        make_linear(t), ({"weight": t.ones(4, 3)}, {"bias": t.zeros(4)}), t.ones(2, 3)
    ),
    "functional_call list twice": lambda t: t.func.functional_call(
        make_linear(t), ({"weight": t.ones(4, 3)}, {"weight": t.zeros(4)}), t.ones(2, 3)
    ),
    "functional_call type": lambda t: t.func.functional_call(make_linear(t), 3, t.ones(2, 3)),
    "functional_call kwargs": lambda t: t.func.functional_call(
        make_linear(t), {"weight": t.ones(4, 3)}, (), {"input": t.ones(2, 3)}
    ),
    "functional_call nested": lambda t: t.func.functional_call(
        make_net(t), {"2.weight": t.zeros(2, 4)}, t.ones(5, 3)
    ),
    "functional_call nested buffers": lambda t: (
        lambda m: [
            t.func.functional_call(m, {"1.running_mean": t.ones(4)}, t.ones(5, 3)),
            m[1].running_mean,
        ]
    )(make_net(t)),
    "stateless old": lambda t: t.nn.utils.stateless.functional_call(
        make_linear(t), {"weight": t.ones(4, 3)}, t.ones(2, 3)
    ),
    "stateless notmodule": lambda t: t.nn.utils.stateless.functional_call(3, {}, ()),
    "stateless tie": lambda t: (
        lambda m: [
            setattr(m[2], "weight", m[2].weight),
            t.func.functional_call(m, {"0.weight": t.zeros(4, 3)}, t.ones(5, 3), tie_weights=False),
        ]
    )(make_net(t)),
    "parametrize sym": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            m.weight,
            sorted(m.state_dict()),
            repr(m),
            t.nn.utils.parametrize.is_parametrized(m),
            t.nn.utils.parametrize.is_parametrized(m, "bias"),
            t.nn.utils.parametrize.type_before_parametrizations(m).__name__,
            type(m).__name__,
        ]
    )(make_linear(t, 3, 3)),
    "parametrize two": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            t.nn.utils.parametrize.register_parametrization(
                m, "weight", make_doubling(t), unsafe=True
            ),
            m.weight,
            sorted(m.state_dict()),
        ]
    )(make_linear(t, 3, 3)),
    "parametrize remove": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            t.nn.utils.parametrize.remove_parametrizations(m, "weight"),
            m.weight,
            type(m).__name__,
            sorted(dict(m.named_parameters())),
        ]
    )(make_linear(t, 3, 3)),
    "parametrize remove leave": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            t.nn.utils.parametrize.remove_parametrizations(m, "weight", leave_parametrized=False),
            m.weight,
        ]
    )(make_linear(t, 3, 3)),
    "parametrize bad name": lambda t: t.nn.utils.parametrize.register_parametrization(
        make_linear(t), "wait", make_doubling(t)
    ),
    "parametrize dtype": lambda t: t.nn.utils.parametrize.register_parametrization(
        make_linear(t), "weight", make_double_precision(t)
    ),
    "parametrize shape": lambda t: t.nn.utils.parametrize.register_parametrization(
        make_linear(t), "weight", make_smaller(t)
    ),
    "parametrize unsafe": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(
                m, "weight", make_smaller(t), unsafe=True
            ),
            m.weight,
        ]
    )(make_linear(t)),
    "parametrize notparam": lambda t: t.nn.utils.parametrize.remove_parametrizations(
        make_linear(t), "weight"
    ),
    "parametrize notmodule": lambda t: t.nn.utils.parametrize.register_parametrization(
        make_linear(t), "weight", lambda x: x
    ),
    "parametrize rank": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(
                m, "weight", make_product(t), unsafe=False
            ),
            sorted(m.state_dict()),
        ]
    )(make_linear(t, 3, 3)),
    "parametrize assign": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            setattr(m, "weight", t.nn.Parameter(t.ones(3, 3))),
            m.weight,
            m.parametrizations.weight.original,
        ]
    )(make_linear(t, 3, 3)),
    "parametrize assign without inverse": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_doubling(t)),
            setattr(m, "weight", t.nn.Parameter(t.ones(3, 3))),
        ]
    )(make_linear(t, 3, 3)),
    "parametrize cached": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            (lambda c: [c.__enter__(), m.weight is m.weight, c.__exit__(None, None, None)])(
                t.nn.utils.parametrize.cached()
            ),
            m.weight is m.weight,
        ][2:]
    )(make_linear(t, 3, 3)),
    "parametrize pickle": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            pickle.dumps(m),
        ]
    )(make_linear(t, 3, 3)),
    "parametrize deepcopy": lambda t: (
        lambda m: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            copy.deepcopy(m).weight,
            type(copy.deepcopy(m)) is type(m),
        ]
    )(make_linear(t, 3, 3)),
    "parametrize transfer": lambda t: (
        lambda m, n: [
            t.nn.utils.parametrize.register_parametrization(m, "weight", make_symmetric(t)),
            t.nn.utils.parametrize.transfer_parametrizations_and_params(m, n),
            n.weight,
            sorted(n.state_dict()),
        ]
    )(make_linear(t, 3, 3), t.nn.Linear(3, 3)),
    "orthogonal": lambda t: [
        (
            (
                t.nn.utils.parametrizations.orthogonal(make_linear(t, 3, 5), orthogonal_map=o)
            ).weight.T
            @ t.nn.utils.parametrizations.orthogonal(make_linear(t, 3, 5), orthogonal_map=o).weight
        )
        for o in (None, "matrix_exp", "cayley", "householder")
    ],
    "orthogonal values": lambda t: [
        t.nn.utils.parametrizations.orthogonal(make_linear(t, a, b), orthogonal_map=o).weight
        for a, b in ((3, 3), (3, 5), (5, 3))
        for o in ("matrix_exp", "cayley", "householder")
    ],
    "orthogonal not trivial": lambda t: [
        t.nn.utils.parametrizations.orthogonal(
            make_linear(t, a, b), use_trivialization=False, orthogonal_map=o
        ).weight
        for a, b in ((3, 3), (3, 5))
        for o in ("matrix_exp", "cayley", "householder")
    ],
    "orthogonal bad map": lambda t: t.nn.utils.parametrizations.orthogonal(
        make_linear(t), orthogonal_map="x"
    ),
    "orthogonal 1d": lambda t: t.nn.utils.parametrizations.orthogonal(make_linear(t), "bias"),
    "orthogonal bad name": lambda t: t.nn.utils.parametrizations.orthogonal(make_linear(t), "wei"),
    "orthogonal assign": lambda t: (lambda m: [setattr(m, "weight", t.eye(3)), m.weight])(
        t.nn.utils.parametrizations.orthogonal(make_linear(t, 3, 3))
    ),
    "orthogonal assign bad": lambda t: (lambda m: [setattr(m, "weight", t.ones(3, 3))])(
        t.nn.utils.parametrizations.orthogonal(make_linear(t, 3, 3), orthogonal_map="householder")
    ),
    "orthogonal assign cayley": lambda t: (lambda m: [setattr(m, "weight", t.eye(3))])(
        t.nn.utils.parametrizations.orthogonal(
            make_linear(t, 3, 3), use_trivialization=False, orthogonal_map="cayley"
        )
    ),
    "weight_norm": lambda t: (lambda m: [m.weight, m.state_dict()])(
        t.nn.utils.parametrizations.weight_norm(make_linear(t))
    ),
    "weight_norm dim": lambda t: [
        (lambda m: [m.weight, m.state_dict()])(
            t.nn.utils.parametrizations.weight_norm(make_linear(t), dim=d)
        )
        for d in (None, 1, -1)
    ],
    "weight_norm bad": lambda t: t.nn.utils.parametrizations.weight_norm(make_linear(t), "x"),
    "weight_norm old": lambda t: (
        lambda m: [
            m.weight,
            m.state_dict(),
            t.nn.utils.remove_weight_norm(m).weight,
            m.state_dict(),
        ]
    )(t.nn.utils.weight_norm(make_linear(t))),
    "weight_norm old twice": lambda t: t.nn.utils.weight_norm(
        t.nn.utils.weight_norm(make_linear(t))
    ),
    "weight_norm old remove": lambda t: t.nn.utils.remove_weight_norm(make_linear(t)),
    "spectral_norm": lambda t: (
        lambda m: [m.weight, m.weight, m.state_dict(), m.eval().weight, m.weight]
    )(t.nn.utils.parametrizations.spectral_norm(make_linear(t))),
    "spectral_norm conv": lambda t: (lambda m: [m.weight, m.state_dict()])(
        t.nn.utils.parametrizations.spectral_norm(t.nn.Conv2d(2, 3, 2))
    ),
    "spectral_norm transposed": lambda t: (
        t.manual_seed(0),
        (lambda m: [m.weight, m.state_dict()])(
            t.nn.utils.parametrizations.spectral_norm(t.nn.ConvTranspose2d(2, 3, 2))
        ),
    )[1],
    "spectral_norm bad iterations": lambda t: t.nn.utils.parametrizations.spectral_norm(
        make_linear(t), n_power_iterations=0
    ),
    "spectral_norm bias": lambda t: (
        t.nn.utils.parametrizations.spectral_norm(make_linear(t), "bias").bias
    ),
    "spectral_norm bad": lambda t: t.nn.utils.parametrizations.spectral_norm(make_linear(t), "x"),
    "spectral_norm bad dim": lambda t: t.nn.utils.parametrizations.spectral_norm(
        make_linear(t), dim=5
    ),
    "spectral_norm old": lambda t: (
        lambda m: [
            m.weight,
            call(m, t, 2, 3),
            m.state_dict(),
            t.nn.utils.remove_spectral_norm(m).weight,
            m.state_dict(),
        ]
    )(t.nn.utils.spectral_norm(make_linear(t))),
    "spectral_norm old 0": lambda t: t.nn.utils.spectral_norm(make_linear(t), n_power_iterations=0),
    "spectral_norm old twice": lambda t: t.nn.utils.spectral_norm(
        t.nn.utils.spectral_norm(make_linear(t))
    ),
    "spectral_norm old remove": lambda t: t.nn.utils.remove_spectral_norm(make_linear(t)),
    "pack": lambda t: list(make_packed(t)),
    "pack unsorted": lambda t: list(
        t.nn.utils.rnn.pack_sequence([t.ones(1), t.arange(3.0)], enforce_sorted=False)
    ),
    "pack unsorted err": lambda t: t.nn.utils.rnn.pack_sequence([t.ones(1), t.arange(3.0)]),
    "pack_padded": lambda t: list(
        t.nn.utils.rnn.pack_padded_sequence(t.arange(6.0).reshape(2, 3), [3, 1], batch_first=True)
    ),
    "pack_padded 0": lambda t: t.nn.utils.rnn.pack_padded_sequence(
        t.arange(6.0).reshape(2, 3), [3, 0], batch_first=True
    ),
    "pack_padded count": lambda t: t.nn.utils.rnn.pack_padded_sequence(
        t.arange(6.0).reshape(2, 3), [3], batch_first=True
    ),
    "pack_padded tensor len": lambda t: list(
        t.nn.utils.rnn.pack_padded_sequence(
            t.arange(6.0).reshape(3, 2), t.tensor([2, 3]), enforce_sorted=False
        )
    ),
    "pad_packed": lambda t: t.nn.utils.rnn.pad_packed_sequence(make_packed(t)),
    "pad_packed opts": lambda t: t.nn.utils.rnn.pad_packed_sequence(
        make_packed(t), batch_first=True, padding_value=-1.0, total_length=6
    ),
    "pad_packed short": lambda t: t.nn.utils.rnn.pad_packed_sequence(
        make_packed(t), total_length=2
    ),
    "pad_sequence": lambda t: [
        t.nn.utils.rnn.pad_sequence(
            [t.ones(2, 3), t.ones(4, 3)], batch_first=b, padding_value=7.0, padding_side=s
        )
        for b in (True, False)
        for s in ("left", "right")
    ],
    "pad_sequence side": lambda t: t.nn.utils.rnn.pad_sequence([t.ones(2)], padding_side="x"),
    "pad_sequence again": lambda t: t.nn.utils.rnn.pad_sequence(iter([t.ones(2)])),
    "pad_sequence empty": lambda t: t.nn.utils.rnn.pad_sequence([]),
    "pad_sequence tensor": lambda t: t.nn.utils.rnn.pad_sequence(t.ones(2, 3)),
    "pad_sequence unequal": lambda t: t.nn.utils.rnn.pad_sequence([t.ones(2, 3), t.ones(2, 4)]),
    "unpad": lambda t: t.nn.utils.rnn.unpad_sequence(t.ones(4, 2), t.tensor([3, 1])),
    "unpack": lambda t: t.nn.utils.rnn.unpack_sequence(make_packed(t)),
    "invert": lambda t: [
        t.nn.utils.rnn.invert_permutation(t.tensor([2, 0, 1])),
        t.nn.utils.rnn.invert_permutation(None),
    ],
    "packed to": lambda t: (
        lambda p: [
            str(p.to(t.float64).data.dtype)[-7:],
            p.is_cuda,
            p.is_pinned(),
            p.double().data.dtype == t.float64,
            p.int().data,
        ]
    )(make_packed(t)),
    "packed new": lambda t: t.nn.utils.rnn.PackedSequence(t.ones(3), t.tensor([2, 1])),
    "fuse conv": lambda t: (
        t.manual_seed(0),
        (
            lambda c, b: [
                call(t.nn.utils.fuse_conv_bn_eval(c.eval(), b.eval()), t, 1, 2, 5, 5),
                call(t.nn.Sequential(c, b), t, 1, 2, 5, 5),
            ]
        )(t.nn.Conv2d(2, 3, 3), t.nn.BatchNorm2d(3)),
    )[1],
    "fuse transposed": lambda t: (
        t.manual_seed(0),
        (
            lambda c, b: [
                call(
                    t.nn.utils.fuse_conv_bn_eval(c.eval(), b.eval(), transpose=True), t, 1, 2, 5, 5
                ),
                call(t.nn.Sequential(c, b), t, 1, 2, 5, 5),
            ]
        )(t.nn.ConvTranspose2d(2, 3, 3), t.nn.BatchNorm2d(3)),
    )[1],
    "fuse train": lambda t: t.nn.utils.fuse_conv_bn_eval(t.nn.Conv2d(2, 3, 3), t.nn.BatchNorm2d(3)),
    "fuse noaffine": lambda t: (
        t.manual_seed(0),
        call(
            t.nn.utils.fuse_conv_bn_eval(
                t.nn.Conv2d(2, 3, 3, bias=False).eval(), t.nn.BatchNorm2d(3, affine=False).eval()
            ),
            t,
            1,
            2,
            5,
            5,
        ),
    )[1],
    "fuse linear": lambda t: call(
        t.nn.utils.fuse_linear_bn_eval(make_linear(t).eval(), t.nn.BatchNorm1d(4).eval()), t, 2, 3
    ),
    "fuse linear bad": lambda t: t.nn.utils.fuse_linear_bn_eval(
        make_linear(t).eval(), t.nn.BatchNorm1d(3).eval()
    ),
    "fuse linear 1": lambda t: call(
        t.nn.utils.fuse_linear_bn_eval(make_linear(t).eval(), t.nn.BatchNorm1d(1).eval()), t, 2, 3
    ),
    "fuse linear train": lambda t: t.nn.utils.fuse_linear_bn_eval(
        make_linear(t), t.nn.BatchNorm1d(4)
    ),
    "fuse weights": lambda t: t.nn.utils.fusion.fuse_conv_bn_weights(
        t.ones(2, 1, 1, 1), None, t.zeros(2), t.ones(2), 1e-5, None, None
    ),
    "prune l1": lambda t: (
        lambda m: [
            t.nn.utils.prune.l1_unstructured(m, "weight", 3),
            m.weight,
            m.weight_mask,
            m.state_dict(),
            t.nn.utils.prune.is_pruned(m),
        ]
    )(make_linear(t)),
    "prune l1 frac": lambda t: (
        t.nn.utils.prune.l1_unstructured(make_linear(t), "weight", 0.5).weight
    ),
    "prune random": lambda t: (
        t.nn.utils.prune.random_unstructured(make_linear(t), "weight", 0.5).weight
    ),
    "prune ln": lambda t: [
        t.nn.utils.prune.ln_structured(make_linear(t), "weight", 2, n=n, dim=d).weight
        for n in (1, 2, float("inf"), -float("inf"))
        for d in (0, 1)
    ],
    "prune random structured": lambda t: (
        t.nn.utils.prune.random_structured(make_linear(t), "weight", 2, 0).weight
    ),
    "prune custom": lambda t: (
        t.nn.utils.prune.custom_from_mask(make_linear(t), "bias", t.tensor([1, 0, 1, 0])).bias
    ),
    "prune identity": lambda t: (lambda m: [t.nn.utils.prune.identity(m, "weight"), m.weight])(
        make_linear(t)
    ),
    "prune global": lambda t: (
        lambda m: [
            t.nn.utils.prune.global_unstructured(
                [(m[0], "weight"), (m[2], "weight")], t.nn.utils.prune.L1Unstructured, amount=5
            ),
            m[0].weight,
            m[2].weight,
        ]
    )(make_net(t)),
    "prune global scores": lambda t: (
        lambda m: [
            t.nn.utils.prune.global_unstructured(
                [(m[0], "weight"), (m[2], "weight")],
                t.nn.utils.prune.L1Unstructured,
                importance_scores={(m[0], "weight"): t.arange(12.0).reshape(4, 3)},
                amount=5,
            ),
            m[0].weight,
            m[2].weight,
        ]
    )(make_net(t)),
    "prune global bad": lambda t: t.nn.utils.prune.global_unstructured(
        [(make_net(t)[0], "weight")], t.nn.utils.prune.LnStructured, amount=5
    ),
    "prune global type": lambda t: t.nn.utils.prune.global_unstructured(
        3, t.nn.utils.prune.L1Unstructured, amount=5
    ),
    "prune again": lambda t: (
        lambda m: [
            t.nn.utils.prune.l1_unstructured(m, "weight", 3),
            t.nn.utils.prune.ln_structured(m, "weight", 1, 2, 0),
            m.weight,
            type(next(iter(m._forward_pre_hooks.values()))).__name__,
            len(next(iter(m._forward_pre_hooks.values()))),
        ]
    )(make_linear(t)),
    "prune remove": lambda t: (
        lambda m: [
            t.nn.utils.prune.l1_unstructured(m, "weight", 3),
            t.nn.utils.prune.remove(m, "weight"),
            m.state_dict(),
            sorted(dict(m.named_parameters())),
            t.nn.utils.prune.is_pruned(m),
        ]
    )(make_linear(t)),
    "prune remove bad": lambda t: t.nn.utils.prune.remove(make_linear(t), "weight"),
    "prune amount neg": lambda t: t.nn.utils.prune.l1_unstructured(make_linear(t), "weight", -1),
    "prune amount big": lambda t: t.nn.utils.prune.l1_unstructured(make_linear(t), "weight", 100),
    "prune amount frac": lambda t: t.nn.utils.prune.l1_unstructured(make_linear(t), "weight", 1.5),
    "prune amount type": lambda t: t.nn.utils.prune.l1_unstructured(make_linear(t), "weight", "x"),
    "prune structured 1d": lambda t: t.nn.utils.prune.ln_structured(
        make_linear(t), "bias", 1, 2, 0
    ),
    "prune structured dim": lambda t: t.nn.utils.prune.ln_structured(
        make_linear(t), "weight", 1, 2, 7
    ),
    "prune importance": lambda t: (
        t.nn.utils.prune.l1_unstructured(
            make_linear(t), "weight", 4, importance_scores=t.arange(12.0).reshape(4, 3)
        ).weight
    ),
    "prune importance shape": lambda t: t.nn.utils.prune.l1_unstructured(
        make_linear(t), "weight", 4, importance_scores=t.arange(12.0)
    ),
    "prune grad": lambda t: (
        lambda m: [
            t.nn.utils.prune.l1_unstructured(m, "weight", 3),
            m(t.ones(2, 3)).sum().backward(),
            m.weight_orig.grad,
        ]
    )(make_linear(t)),
    "prune container": lambda t: (
        lambda c: [c.add_pruning_method(t.nn.utils.prune.L1Unstructured(2)), len(c)]
    )(t.nn.utils.prune.PruningContainer()),
    "prune container2": lambda t: [
        setattr(t.nn.utils.prune.L1Unstructured(2), "a", 1),
        t.nn.utils.prune.PruningContainer(3),
    ],
    "prune prune": lambda t: t.nn.utils.prune.L1Unstructured(2).prune(t.arange(4.0)),
    "prune prune mask": lambda t: t.nn.utils.prune.L1Unstructured(1).prune(
        t.arange(4.0), default_mask=t.tensor([1.0, 1, 0, 1])
    ),
    "prune base": lambda t: t.nn.utils.prune.BasePruningMethod(),
    "skip": lambda t: [tuple(t.nn.utils.skip_init(t.nn.Linear, 3, 4).weight.shape), t.rand(1)],
    "skip bad": lambda t: t.nn.utils.skip_init(t.nn.ReLU),
    "convert memory format": lambda t: t.nn.utils.convert_conv2d_weight_memory_format(
        t.nn.Conv2d(2, 3, 3), t.channels_last
    ).weight.is_contiguous(memory_format=t.channels_last),
    "convert memory format 3d": lambda t: t.nn.utils.convert_conv3d_weight_memory_format(
        t.nn.Conv3d(2, 3, 3), t.channels_last_3d
    ).weight.is_contiguous(memory_format=t.channels_last_3d),
}
# Errors that say more here, or less.
OWN_WORDS = {
    "fuse linear bad",
    "fuse linear train",
    "fuse train",
    "pad_sequence empty",
    "pad_sequence unequal",
    "prune importance shape",
    "parametrize notparam",
    "parametrize pickle",
    "spectral_norm bad dim",
    "stateless notmodule",
    "vector short",
}


def near(value):
    return pytest.approx(value, rel=1e-4, abs=1e-4, nan_ok=True)


def run(framework, name, number=float):
    framework.manual_seed(3)
    try:
        return "value", plain(CASES[name](framework), number)
    except Exception as error:
        text = str(error).replace("flambeau", "torch")
        return type(error).__name__, None if name in OWN_WORDS else text


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    for name in ("func", "nn.utils.fusion", "nn.utils.prune", "nn.utils.stateless"):
        pytest.importorskip(f"torch.{name}")
    return torch


@pytest.mark.parametrize("name", list(CASES))
def test_corner(torch, name):
    assert run(flambeau, name) == run(torch, name, near)


MODELS = {
    "none": lambda t: [],
    "classes": lambda t: [t.nn.Linear(2, 3), t.nn.ReLU()],
    "modes": lambda t: [t.nn.Linear(2, 3), t.nn.Linear(2, 3).eval()],
    "frozen": lambda t: [t.nn.Linear(2, 3), t.nn.Linear(2, 3).requires_grad_(False)],
    "equal": lambda t: [t.nn.BatchNorm1d(2) for _ in range(3)],
}


@pytest.mark.parametrize("name", list(MODELS))
def test_stacked_state(torch, name, monkeypatch):
    monkeypatch.setitem(CASES, name, lambda t: t.func.stack_module_state(MODELS[name](t)))
    assert run(flambeau, name) == run(torch, name, near)
