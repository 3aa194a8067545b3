"""Tensors: values and gradients against PyTorch's own in float64. They run where PyTorch is."""

import numpy as np
import pytest

import wgpu_activations as wa

torch = pytest.importorskip("torch")
F = torch.nn.functional

# Functions that PyTorch has under the same name and with the same defaults.
SAME = ["relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "logsigmoid", "tanh"]
SAME += ["hardsigmoid", "hardtanh", "hardswish", "softplus", "softsign", "tanhshrink", "hardshrink", "softshrink"]


def tensors(*shapes, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(shape, generator=generator) * 3).requires_grad_() for shape in shapes]


def compared(ours, theirs, inputs, rtol=2e-6, atol=2e-7):
    """Value and gradients of float32 against float64."""
    wide = [t.detach().double().requires_grad_(t.requires_grad) if t.is_floating_point() else t for t in inputs]
    y, want = ours(*inputs), theirs(*wide)
    dy = torch.randn(want.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    y.backward(dy.float())
    want.backward(dy)
    torch.testing.assert_close(y.double(), want, rtol=rtol, atol=atol)
    for narrow, wide in zip(inputs, wide):
        if narrow.is_floating_point() and narrow.requires_grad:
            torch.testing.assert_close(narrow.grad.double(), wide.grad, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", SAME)
def test_functions_of_one_input(name):
    compared(getattr(wa.torch, name), getattr(F, name), tensors((40, 50)))


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin", "logsumexp"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_family(name, axis):
    theirs = getattr(torch, name, None) or getattr(F, name)
    compared(lambda x: getattr(wa.torch, name)(x, axis=axis), lambda x: theirs(x, dim=axis), tensors((4, 5, 60)))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses(reduction):
    (x,) = tensors((30, 17))
    targets = torch.arange(30) % 17
    targets[3] = -100
    options = {"reduction": reduction, "label_smoothing": 0.1}
    compared(lambda x: wa.torch.cross_entropy(x, targets, **options), lambda x: F.cross_entropy(x, targets, **options), [x])
    (x,) = tensors((30, 17), seed=2)
    shares = torch.rand(30, 17, generator=torch.Generator().manual_seed(3))
    ours = lambda x: wa.torch.binary_cross_entropy_with_logits(x, shares, reduction=reduction)
    compared(ours, lambda x: F.binary_cross_entropy_with_logits(x, shares.double(), reduction=reduction), [x])


def test_several_inputs():
    x, slope = tensors((4, 6, 10), (6,))
    compared(wa.torch.prelu, F.prelu, [x, slope], rtol=1e-5, atol=1e-5)
    (x,) = tensors((8, 20))
    compared(wa.torch.glu, F.glu, [x])
    value, gate = tensors((8, 20), (8, 20))
    compared(wa.torch.swiglu, lambda v, g: v * F.silu(g), [value, gate])
    scores, sinks = tensors((2, 3, 4, 5), (3, 1, 1))
    keep = torch.rand(4, 5) < 0.8
    joined = lambda s, k: torch.softmax(torch.cat([s.masked_fill(~keep, -torch.inf), k.expand(2, 3, 4, 1)], -1), -1)[..., :-1]
    compared(lambda s, k: wa.torch.softmax(s, mask=keep, sinks=k), joined, [scores, sinks], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits(dtype):
    x = torch.linspace(-4, 4, 101).to(dtype).requires_grad_()
    y = wa.torch.gelu(x)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.dtype == dtype
    torch.testing.assert_close(y, F.gelu(x.detach().double()).to(dtype), rtol=1e-2, atol=1e-3)


def test_a_step_of_training():
    """Ours in a network, beside PyTorch's: the same steps."""
    losses = []
    for act, loss in [(F.gelu, F.cross_entropy), (wa.torch.gelu, wa.torch.cross_entropy)]:
        torch.manual_seed(1)
        net = torch.nn.ModuleList([torch.nn.Linear(8, 32), torch.nn.Linear(32, 4)])
        optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
        x, targets = torch.randn(64, 8), torch.arange(64) % 4
        for _ in range(20):
            optimiser.zero_grad()
            value = loss(net[1](act(net[0](x))), targets)
            value.backward()
            optimiser.step()
        losses.append(value.item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_mistakes_and_sharing():
    x = torch.randn(4, 8)
    with pytest.raises(TypeError, match=r"pass input.float\(\)"):
        wa.torch.gelu(x.double())
    with pytest.raises(TypeError, match="takes input; it was given 2"):
        wa.torch.gelu(x, x)
    with pytest.raises(TypeError, match="has no 'dim'"):
        wa.torch.softmax(x, dim=-1)
    np.testing.assert_array_equal(wa.gelu(x), wa.torch.gelu(x).numpy())
    np.testing.assert_array_equal(wa.gelu(x.t()), wa.torch.gelu(x.t()).numpy())
    assert wa.torch.apply("elu(alpha=0.5)", x).shape == x.shape
    y = wa.torch.gelu(x.clone().requires_grad_())
    (dx,) = torch.autograd.grad(y.sum(), y.grad_fn.next_functions[0][0].variable, create_graph=True)
    with pytest.raises(RuntimeError):
        dx.sum().backward()
