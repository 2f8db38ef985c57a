"""Log-densities of mixtures against torch.distributions, far out, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from flowprior.errors import DerivativeError, InputError
from flowprior.ops import gmm_log_prob
from flowprior.ops.backend import native_devices
from flowprior.ops.gmm_log_prob import gmm_log_prob_all, plain_gmm_log_prob, plain_gmm_log_prob_all

from .mixtures import distribution, mixture

BOUND = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize(("components", "event"), [(1, (1,)), (4, (5,)), (5, (3, 4, 4)), (64, (33,))])
def test_density_is_that_of_torch_distributions(dtype, spherical, components, event, generator):
    tables = mixture(generator, components=components, event=event, spherical=spherical, dtype=dtype)
    x = torch.randn(12, *event, generator=generator, dtype=torch.float64).to(dtype)
    cond = torch.arange(12) % 3
    wide = [table.double() for table in tables]
    every = torch.stack([distribution(*wide, c).log_prob(x.double().flatten(1)) for c in range(3)], 1)
    log_prob, shares = gmm_log_prob(x, *tables, cond)
    all_prob, all_shares = gmm_log_prob_all(x, *tables)
    assert log_prob.dtype == shares.dtype == all_prob.dtype == all_shares.dtype == dtype
    expected = every[torch.arange(12), cond]
    torch.testing.assert_close(log_prob.double(), expected, rtol=BOUND[dtype], atol=BOUND[dtype])
    torch.testing.assert_close(all_prob.double(), every, rtol=BOUND[dtype], atol=BOUND[dtype])
    torch.testing.assert_close(shares.sum(1), torch.ones(12, dtype=dtype))
    rows = torch.arange(12)
    torch.testing.assert_close(all_shares[rows, cond], shares, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distance", [1.0, 30.0, 1e3])
@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("components", [1, 8])
def test_float32_keeps_its_digits_far_out_and_in_many_dimensions(distance, spherical, components, generator):
    """Within 1e-6 of float64 at D = 12,288 and |x − μ|/σ up to 1000."""
    logits, mean, scale = mixture(
        generator, 2, components, (12_288,), spherical=spherical, dtype=torch.float32
    )
    mean = mean * 10
    side = torch.randn(4, 12_288, generator=generator).sign()
    x = mean[torch.arange(4) % 2, 0] + distance * side * scale[torch.arange(4) % 2, 0]
    cond = torch.arange(4) % 2
    wide = [tensor.double() for tensor in (x, logits, mean, scale)]
    for result, expected in (
        (gmm_log_prob(x, logits, mean, scale, cond)[0], gmm_log_prob(*wide, cond)[0]),
        (gmm_log_prob_all(x, logits, mean, scale)[0], gmm_log_prob_all(*wide)[0]),
    ):
        assert result.dtype == torch.float32
        torch.testing.assert_close(result.double(), expected, rtol=1e-6, atol=0.0)


@pytest.mark.usefixtures("back_end")
def test_components_of_no_weight_and_huge_distances(generator):
    logits, mean, scale = mixture(generator, conditions=2, components=3, dtype=torch.float32)
    logits[0, 1] = -math.inf
    x = torch.cat([torch.zeros(1, 5), torch.full((1, 5), 1e15)])
    cond = torch.zeros(2, dtype=torch.long)
    log_prob, shares = gmm_log_prob(x, logits, mean, scale, cond)
    assert log_prob.isfinite().all()
    assert (shares[:, 1] == 0).all()
    kept = [0, 2]
    expected = gmm_log_prob(x, logits[:, kept], mean[:, kept], scale[:, kept], cond)[0]
    torch.testing.assert_close(log_prob, expected)


@pytest.mark.usefixtures("back_end")
def test_logits_need_not_be_normalised(generator):
    logits, mean, scale = mixture(generator)
    x, cond = torch.randn(4, 5, generator=generator).double(), torch.tensor([0, 1, 2, 0])
    shifted = logits + torch.tensor([[500.0], [-500.0], [3.0]])
    torch.testing.assert_close(
        gmm_log_prob(x, shifted, mean, scale, cond), gmm_log_prob(x, logits, mean, scale, cond)
    )


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inputs_give_float32(dtype, generator):
    tables = mixture(generator, event=(300,), dtype=dtype)
    x = torch.randn(6, 300, generator=generator).to(dtype)
    cond = torch.arange(6) % 3
    log_prob, shares = gmm_log_prob(x, *tables, cond)
    assert log_prob.dtype == shares.dtype == torch.float32
    wide = [tensor.double() for tensor in (x, *tables)]
    torch.testing.assert_close(log_prob.double(), gmm_log_prob(*wide, cond)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("back_end")
@pytest.mark.parametrize("spherical", [False, True])
@pytest.mark.parametrize("every", [False, True])
def test_gradients_of_density_and_shares(spherical, every, generator):
    tables = mixture(generator, conditions=3, components=2, event=(3, 2), spherical=spherical)
    x = torch.randn(5, 3, 2, generator=generator, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, *tables)]
    cond = torch.tensor([0, 2, 0, 0, 2])  # condition 1 has no row
    density = gmm_log_prob_all if every else lambda *arguments: gmm_log_prob(*arguments, cond)
    assert torch.autograd.gradcheck(density, inputs)


def test_only_the_gradients_asked_for(generator):
    logits, mean, scale = mixture(generator)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    cond = torch.tensor([0, 1, 2, 1])
    gmm_log_prob(x, logits.requires_grad_(), mean, scale, cond)[0].sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.sum(1), torch.zeros(3, dtype=torch.float64))
    assert x.grad is mean.grad is scale.grad is None
    assert not gmm_log_prob(x, logits.detach(), mean, scale, cond)[0].requires_grad


@pytest.mark.parametrize("every", [False, True])
def test_a_second_derivative_is_right_or_refused(every, generator):
    logits, mean, scale = mixture(generator)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    cond = torch.tensor([0, 1, 2, 1])

    def density(x):
        return (
            gmm_log_prob_all(x, logits, mean, scale) if every else gmm_log_prob(x, logits, mean, scale, cond)
        )[0]

    if "cpu" not in native_devices():
        assert torch.autograd.gradgradcheck(density, x)
        return
    (score,) = torch.autograd.grad(density(x).sum(), x, create_graph=True)
    with pytest.raises(DerivativeError, match="second derivative was asked for"):
        score.square().sum().backward()


@pytest.mark.usefixtures("back_end")
def test_no_rows(generator):
    logits, mean, scale = mixture(generator)
    x, cond = torch.zeros(0, 5).double().requires_grad_(), torch.zeros(0, dtype=torch.long)
    log_prob, shares = gmm_log_prob(x, logits, mean, scale, cond)
    assert log_prob.shape == (0,)
    assert shares.shape == (0, 4)
    log_prob.sum().backward()
    assert x.grad is not None
    assert [part.shape for part in gmm_log_prob_all(x, logits, mean, scale)] == [(0, 3), (0, 3, 4)]


@pytest.mark.usefixtures("back_end")
def test_strides_do_not_matter(generator):
    logits, mean, scale = mixture(generator, event=(6,))
    x, cond = torch.randn(6, 7, generator=generator, dtype=torch.float64), torch.arange(7) % 3
    expected = gmm_log_prob(x.T.contiguous(), logits, mean, scale, cond)
    turned = mean.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    torch.testing.assert_close(gmm_log_prob(x.T, logits, turned, scale, cond), expected)
    wide = torch.randn(7, 20, dtype=torch.float64)
    wide[:, 3:9] = x.T
    torch.testing.assert_close(gmm_log_prob(wide[:, 3:9], logits, mean, scale, cond), expected)


def test_inputs_that_do_not_fit(generator):
    tables = mixture(generator)
    x, cond = torch.zeros(4, 5).double(), torch.zeros(4, dtype=torch.long)
    wrong = {
        r"gmm_log_prob: expected x \[B, \*event\] with the event of mean": (x[:, :4], *tables, cond),
        r"expected one label for each row of x, got \[3\] for \[4, 5\]": (x, *tables, cond[:3]),
        r"expected one floating-point dtype .* x torch.float32": (x.float(), *tables, cond),
        r"gmm_log_prob: cond has label 3, but the tables hold conditions 0..2": (x, *tables, cond + 3),
    }
    for message, arguments in wrong.items():
        with pytest.raises(InputError, match=message):
            gmm_log_prob(*arguments)
    with pytest.raises(InputError, match=r"expected one floating-point dtype .* x torch.float32"):
        gmm_log_prob_all(x.float(), *tables)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operator of torch returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@pytest.mark.parametrize("every", [False, True])
def test_memory_does_not_grow_with_rows_times_components_times_dimensions(every, generator):
    """Plain torch makes nothing larger than the inputs."""
    logits, mean, scale = mixture(generator, 2, 16, (256,), dtype=torch.float32)
    x, cond = torch.randn(2000, 256, generator=generator), torch.arange(2000) % 2
    with Largest() as largest:
        if every:
            plain_gmm_log_prob_all(x, logits, mean, scale)
        else:
            plain_gmm_log_prob(x, logits, mean, scale, cond)
    assert 0 < largest.numbers <= x.numel() < x.numel() * 16
