"""Normalised, orthogonal, pruned, fused and replaced weights."""

import copy
import pickle

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn.utils import (
    parametrizations,
    prune,
    remove_spectral_norm,
    remove_weight_norm,
    spectral_norm,
    stateless,
    weight_norm,
)


class TestWeightNorm:
    @pytest.mark.parametrize("dim", [0, 1, None])
    def test_the_weight_is_kept_and_split(self, dim):
        layer = nn.Linear(3, 4)
        weight = layer.weight.detach().clone()
        assert weight_norm(layer, dim=dim) is layer
        assert list(layer.state_dict()) == ["bias", "weight_g", "weight_v"]
        assert torch.allclose(layer.weight, weight)
        with torch.no_grad():
            layer.weight_g.mul_(2)
        assert torch.allclose(layer(torch.eye(3)) - layer.bias, 2 * weight.T)
        length = layer.weight.detach().norm() if dim is None else layer.weight.norm(dim=1 - dim)
        assert torch.allclose(layer.weight_g.flatten(), length.flatten())
        layer.weight.sum().backward()
        assert layer.weight_g.grad is not None
        assert layer.weight_v.grad is not None

    def test_removing(self):
        layer = weight_norm(nn.Conv2d(2, 3, 3))
        weight = layer.weight.detach().clone()
        with pytest.raises(RuntimeError, match="two weight_norm hooks"):
            weight_norm(layer)
        remove_weight_norm(layer)
        assert list(layer.state_dict()) == ["bias", "weight"]
        assert torch.equal(layer.weight, weight)
        assert not layer._forward_pre_hooks
        with pytest.raises(ValueError, match="not found"):
            remove_weight_norm(layer)


class TestSpectralNorm:
    @pytest.mark.parametrize("make", [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(2, 3, 3)])
    def test_the_largest_singular_value_is_one(self, make):
        torch.manual_seed(0)
        layer = spectral_norm(make(), n_power_iterations=30)
        assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
        x = torch.randn(2, *((6,) if layer.weight.dim() == 2 else (2, 5, 5)))
        layer(x).sum().backward()
        assert torch.linalg.svdvals(layer.weight.flatten(1))[0].item() == pytest.approx(1, abs=1e-4)
        assert layer.weight_orig.grad is not None
        u = layer.weight_u.clone()
        layer.eval()(x)
        assert torch.equal(layer.weight_u, u)

    def test_transposed_convolutions_normalise_their_outputs(self):
        layer = spectral_norm(nn.ConvTranspose1d(2, 5, 3))
        assert tuple(layer.weight_u.shape) == (5,)

    def test_removing(self):
        layer = spectral_norm(nn.Linear(3, 3))
        layer(torch.ones(1, 3))
        layer.eval()(torch.ones(1, 3))
        weight = layer.weight.detach().clone()
        with pytest.raises(RuntimeError, match="two spectral_norm hooks"):
            spectral_norm(layer)
        remove_spectral_norm(layer)
        assert torch.allclose(layer.weight, weight)
        assert list(layer.state_dict()) == ["bias", "weight"]
        with pytest.raises(ValueError, match="not found"):
            remove_spectral_norm(layer)
        with pytest.raises(ValueError, match="to be positive"):
            spectral_norm(layer, n_power_iterations=0)

    def test_the_format_is_noted(self):
        layer = spectral_norm(nn.Linear(2, 2))
        assert layer.state_dict()._metadata[""]["spectral_norm"] == {"weight.version": 1}


class TestOrthogonal:
    @pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
    @pytest.mark.parametrize("chosen", ["matrix_exp", "cayley", "householder", None])
    @pytest.mark.parametrize("trivial", [True, False])
    def test_weights_are_orthogonal(self, shape, chosen, trivial):
        torch.manual_seed(0)
        layer = nn.Linear(shape[1], shape[0]).double()
        parametrizations.orthogonal(layer, orthogonal_map=chosen, use_trivialization=trivial)
        for _ in range(3):
            weight = layer.weight
            gram = weight @ weight.T if shape[0] < shape[1] else weight.T @ weight
            assert torch.allclose(gram, torch.eye(min(shape), dtype=torch.float64), atol=1e-10)
            original = layer.parametrizations.weight.original
            (gradient,) = torch.autograd.grad((weight**3).sum(), original)
            with torch.no_grad():
                original.sub_(0.1 * gradient)

    @pytest.mark.parametrize("chosen", ["matrix_exp", "cayley", "householder"])
    def test_orthogonal_values_can_be_assigned(self, chosen):
        torch.manual_seed(0)
        layer = parametrizations.orthogonal(nn.Linear(4, 4).double(), orthogonal_map=chosen)
        value = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]
        layer.weight = value
        assert torch.allclose(layer.weight, value)

    def test_errors(self):
        with pytest.raises(ValueError, match="has to be one of"):
            parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr")
        with pytest.raises(ValueError, match="Expected a matrix"):
            parametrizations.orthogonal(nn.Linear(2, 2), "bias")
        layer = parametrizations.orthogonal(
            nn.Linear(2, 2), orthogonal_map="cayley", use_trivialization=False
        )
        with pytest.raises(NotImplementedError, match="not possible to assign"):
            layer.weight = torch.eye(2)


class TestPrune:
    def make(self):
        torch.manual_seed(0)
        return nn.Linear(4, 6)

    def test_the_smallest_elements(self):
        layer = self.make()
        weight = layer.weight.detach().clone()
        prune.l1_unstructured(layer, "weight", amount=0.25)
        gone = layer.weight == 0
        assert int(gone.sum()) == 6
        assert weight[gone].abs().max() <= weight[~gone].abs().min()
        assert list(layer.state_dict()) == ["bias", "weight_orig", "weight_mask"]
        assert prune.is_pruned(nn.Sequential(layer))
        x = torch.randn(2, 4)
        assert torch.allclose(layer(x), x @ (weight * ~gone).T + layer.bias)
        layer(x).sum().backward()
        assert bool((layer.weight_orig.grad[gone] == 0).all())

    def test_importance_scores_decide(self):
        layer = self.make()
        scores = torch.arange(24.0).view(6, 4)
        prune.l1_unstructured(layer, "weight", amount=4, importance_scores=scores)
        assert bool((layer.weight[0] == 0).all())
        assert int((layer.weight == 0).sum()) == 4

    @pytest.mark.parametrize("dim", [0, 1, -1])
    def test_slices_with_the_smallest_norm(self, dim):
        layer = self.make()
        weight = layer.weight.detach().clone()
        prune.ln_structured(layer, "weight", amount=2, n=2, dim=dim)
        norms = weight.norm(dim=1 if dim == 0 else 0)
        gone = (layer.weight == 0).all(1 if dim == 0 else 0)
        assert int(gone.sum()) == 2
        assert set(norms.topk(2, largest=False).indices.tolist()) == set(
            gone.nonzero()[:, 0].tolist()
        )

    def test_random_slices_and_elements(self):
        layer = prune.random_structured(self.make(), "weight", amount=0.5, dim=0)
        assert int((layer.weight == 0).all(1).sum()) == 3
        layer = prune.random_unstructured(self.make(), "weight", amount=7)
        assert int((layer.weight == 0).sum()) == 7

    def test_pruning_adds_up(self):
        layer = self.make()
        prune.ln_structured(layer, "weight", amount=2, n=1, dim=0)
        prune.l1_unstructured(layer, "weight", amount=3)
        prune.random_structured(layer, "weight", amount=1, dim=0)
        (hook,) = layer._forward_pre_hooks.values()
        assert isinstance(hook, prune.PruningContainer)
        assert [type(m).__name__ for m in hook] == [
            "LnStructured",
            "L1Unstructured",
            "RandomStructured",
        ]
        assert int((layer.weight_mask == 0).all(1).sum()) == 3
        assert int((layer.weight == 0).sum()) in range(12, 16)

    def test_over_several_layers(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
        pairs = [(net[0], "weight"), (net[1], "weight")]
        weights = torch.cat([layer.weight.detach().flatten() for layer in net])
        prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.5)
        pruned = torch.cat([layer.weight.detach().flatten() for layer in net])
        assert int((pruned == 0).sum()) == 18
        assert weights[pruned == 0].abs().max() <= weights[pruned != 0].abs().min()
        with pytest.raises(TypeError, match='Only "unstructured"'):
            prune.global_unstructured(pairs, prune.LnStructured, amount=1, n=2)

    def test_removing_makes_it_final(self):
        layer = prune.l1_unstructured(self.make(), "weight", amount=5)
        weight = layer.weight.detach().clone()
        prune.remove(layer, "weight")
        assert torch.equal(layer.weight, weight)
        assert list(layer.state_dict()) == ["bias", "weight"]
        assert not prune.is_pruned(layer)
        with pytest.raises(ValueError, match="has to be pruned before"):
            prune.remove(layer, "weight")

    def test_pruned_layers_can_be_copied(self):
        layer = prune.l1_unstructured(self.make(), "weight", amount=5)
        prune.remove(layer, "weight")
        for made in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(made.weight, layer.weight)

    @pytest.mark.parametrize(
        ("amount", "error", "message"),
        [
            (25, ValueError, "should be smaller than"),
            (1.5, ValueError, "should either be a float"),
            (-1, ValueError, "should either be a float"),
            ("all", TypeError, "Invalid type for amount"),
        ],
    )
    def test_amounts(self, amount, error, message):
        layer = self.make()
        with pytest.raises(error, match=message):
            prune.l1_unstructured(layer, "weight", amount)
        assert [name for name, _ in layer.named_parameters()] in (
            ["weight", "bias"],
            ["bias", "weight"],
        )

    def test_structured_pruning_needs_slices(self):
        with pytest.raises(ValueError, match="multidimensional"):
            prune.ln_structured(self.make(), "bias", 1, 2, 0)
        with pytest.raises(IndexError, match="Invalid index 4"):
            prune.random_structured(self.make(), "weight", 1, 4)

    def test_a_tensor_without_a_module(self):
        t = torch.tensor([1.0, -3.0, 2.0])
        assert prune.L1Unstructured(1).prune(t).tolist() == [0, -3, 2]
        assert prune.Identity().prune(t, torch.tensor([1.0, 0, 1])).tolist() == [1, 0, 2]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_a_convolution_with_its_batch_norm(bias, transpose, affine):
    torch.manual_seed(0)
    kind = nn.ConvTranspose2d if transpose else nn.Conv2d
    conv, norm = kind(3, 4, 3, bias=bias), nn.BatchNorm2d(4, affine=affine)
    norm(torch.randn(8, 4, 5, 5) * 3 + 1)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    with pytest.raises(AssertionError, match="Fusion only for eval"):
        nn.utils.fuse_conv_bn_eval(conv, norm)
    fused = nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval(), transpose)
    x = torch.randn(2, 3, 6, 6)
    assert torch.allclose(fused(x), norm(conv(x)), atol=1e-5)
    assert isinstance(fused.bias, nn.Parameter)
    assert (conv.bias is not None) == bias


def test_a_linear_layer_with_its_batch_norm():
    torch.manual_seed(0)
    linear, norm = nn.Linear(3, 4).eval(), nn.BatchNorm1d(4).eval()
    nn.init.normal_(norm.running_mean)
    fused = nn.utils.fuse_linear_bn_eval(linear, norm)
    x = torch.randn(5, 3)
    assert torch.allclose(fused(x), norm(linear(x)), atol=1e-6)
    with pytest.raises(AssertionError, match="num_features"):
        nn.utils.fuse_linear_bn_eval(linear, nn.BatchNorm1d(3).eval())


class TestFunctionalCall:
    def make(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
        net[2].weight = net[0].weight
        return net

    def call(self, *args, **kwargs):
        with pytest.warns(FutureWarning, match="deprecated"):
            return stateless.functional_call(*args, **kwargs)

    def test_given_tensors_are_used_and_differentiated(self):
        net, x = self.make().eval(), torch.randn(3, 2)
        given = {n: torch.randn_like(p).requires_grad_() for n, p in net.named_parameters()}
        before = {n: p.detach().clone() for n, p in net.named_parameters()}
        output = self.call(net, given, x)
        other = self.make().eval()
        for name, tensor in given.items():
            other.get_parameter(name).data = tensor.detach()
        assert torch.allclose(output, other(x))
        grads = torch.autograd.grad(output.sum(), list(given.values()))
        assert all(g is not None for g in grads)
        for name, parameter in net.named_parameters():
            assert isinstance(parameter, nn.Parameter)
            assert torch.equal(parameter, before[name])

    def test_shared_tensors_are_replaced_together(self):
        net, x = self.make().eval(), torch.randn(3, 2)
        zero = {"0.weight": torch.zeros(2, 2)}
        assert torch.allclose(self.call(net, zero, x), net[2].bias.expand(3, 2))
        untied = self.call(net, zero, x, tie_weights=False)
        assert not torch.allclose(untied, net[2].bias.expand(3, 2))
        with pytest.raises(ValueError, match="multiple values"):
            self.call(net, {**zero, "2.weight": torch.ones(2, 2)}, x)

    def test_buffers_and_errors(self):
        net = self.make()
        mean = torch.zeros(2)
        self.call(net, {"1.running_mean": mean}, (torch.randn(4, 2),))
        assert bool((mean != 0).all())
        assert net[1].running_mean.tolist() == [0, 0]
        with pytest.raises(RuntimeError, match=r"Unexpected key\(s\): 'x'"):
            self.call(net, {"x": mean}, torch.ones(1, 2), strict=True)
        with pytest.raises(RuntimeError, match=r"Missing key\(s\)"):
            self.call(net, {}, torch.ones(1, 2), strict=True)
        kept = net[1].running_mean
        with pytest.raises(RuntimeError):
            self.call(net, {"1.running_mean": mean}, (torch.randn(4, 5),))
        assert net[1].running_mean is kept


@pytest.mark.parametrize("dims", [2, 3])
def test_weights_in_channels_last_order(dims):
    conv = getattr(nn, f"Conv{dims}d")(2, 3, 3)
    weight = conv.weight.detach().clone()
    order = torch.channels_last if dims == 2 else torch.channels_last_3d
    convert = getattr(nn.utils, f"convert_conv{dims}d_weight_memory_format")
    assert convert(nn.Sequential(conv), order)[0] is conv
    assert conv.weight.is_contiguous(memory_format=order)
    assert torch.equal(conv.weight, weight)
