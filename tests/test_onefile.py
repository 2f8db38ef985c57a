"""The method on one page, examples/onefile.py, gives the numbers of the library's default design.

Both work in float64, on the same data and with the same noise. What the library draws in a fit is recorded
at the functions of torch. The noise of source samples is read off a copy of the prior whose tables leave it
as it is, so that it does not matter how it is drawn.
"""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

import flowprior
from flowprior import Coupling, Flow, Prior
from flowprior.couplings.drawing import PosteriorCoupling
from flowprior.models.mlp import MLP
from tests.markdown_blocks import REPOSITORY
from tests.values_of_tree import Losses

EXAMPLE = REPOSITORY / "examples" / "onefile.py"
LABELS, ROWS, DIM, RANK, STEPS, FAR = 2, 900, 90, 16, 4, 1000.0


class Run(NamedTuple):
    """A run of ``flowprior.train`` in float64, and what was drawn and seen in it."""

    flow: Flow
    losses: list[float]
    start: Tensor
    orders: list[Tensor]
    pairs: list[tuple[Tensor, Tensor, Tensor]]
    calls: list[tuple[Tensor, ...]]
    network: nn.Module


def data() -> tuple[Tensor, Tensor]:
    """Two clusters of each label, which vary along all axes, but not alike; some coordinates hardly vary."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(LABELS).repeat_interleave(ROWS)
    turn = torch.linalg.qr(torch.randn(LABELS, DIM, DIM, generator=generator)).Q
    cluster = torch.randint(2, (len(labels), 1), generator=generator)
    wide = (torch.arange(DIM) + cluster) % 2 == 1
    along = torch.where(wide, 1.5, 0.2) * torch.randn(len(labels), DIM, generator=generator)
    along = along + 0.3 * (2 * cluster - 1) * torch.randn(DIM, generator=generator)
    x = labels[:, None] + ((torch.linspace(2, 0.2, DIM) * along)[:, None] @ turn[labels])[:, 0]
    x[:, ::30] *= 0.02
    return x, labels


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        torch.set_default_dtype(torch.float64)
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        try:
            yield trained(patch)
        finally:
            torch.set_default_dtype(torch.float32)


def trained(patch: pytest.MonkeyPatch) -> Run:
    """``train((x1, c))`` with no options but what has it short and written down."""
    drawn, losses, pairs, calls, networks = recorded_in_fits(patch), Losses(), [], [], []
    draw = PosteriorCoupling.draw

    def watched(self: Coupling, prior: Prior, x1: Tensor, cond: Tensor, **options: Any) -> Tensor:
        x0 = draw(self, prior, x1, cond, **options)
        pairs.append((x0, x1, cond))
        return x0

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, MLP):
            networks.append(copy.deepcopy(module))
            calls.append(inputs)

    patch.setattr(PosteriorCoupling, "draw", watched)
    hook = register_module_forward_pre_hook(watch)
    flow = flowprior.train(data(), steps=STEPS, log_every=1, callbacks=[losses], progress=False)
    hook.remove()
    start = next(each for each in drawn["randn"] if each.shape == (DIM, RANK + 16))
    return Run(flow, losses.values, start, drawn["randperm"][-2 * LABELS :], pairs, calls, networks[0])


def recorded_in_fits(patch: pytest.MonkeyPatch) -> dict[str, list[Tensor]]:
    """Results of ``torch.randn`` and ``torch.randperm`` in fits, where ``torch.rand`` keeps rows in order."""
    results: dict[str, list[Tensor]] = {"randn": [], "randperm": []}
    fit, number = Prior.fit, count()

    def recording(name: str, draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def recorded(*args: Any, **options: Any) -> Tensor:
            results[name].append(draw(*args, **options))
            return results[name][-1]

        return recorded

    def rising(size: int, **_: Any) -> Tensor:
        return torch.tensor([next(number) * 1e-9 for _ in range(size)])

    def fitted(self: Prior, *args: Any, **options: Any) -> Prior:
        if torch.rand is rising:  # in the fit of a prior that is part of another
            return fit(self, *args, **options)
        with pytest.MonkeyPatch.context() as inside:
            for name in results:
                inside.setattr(torch, name, recording(name, getattr(torch, name)))
            inside.setattr(torch, "rand", rising)
            return fit(self, *args, **options)

    patch.setattr(Prior, "fit", fitted)
    return results


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def prior(run: Run, page: dict[str, Any]) -> Any:
    """The library's fitted tables, as the page holds them."""
    tables = run.flow.prior.state_dict()
    names = ("loc", "noise", "basis", "spread")
    gaussian = page["Gaussian"](*(tables[f"subspace.{name}"][:LABELS] for name in names))
    factors = triangles(tables["latents.factors"])
    return page["Prior"](gaussian, tables["latents.logits"].softmax(1), tables["latents.loc"], factors)


def triangles(packed: Tensor) -> Tensor:
    """Lower triangles ``[…, r, r]`` of their numbers row by row."""
    row, column = torch.tril_indices(RANK, RANK)
    found = packed.new_zeros(*packed.shape[:-1], RANK, RANK)
    found[..., row, column] = packed
    return found


def noise_of(prior: Prior, draw: Callable[[Prior], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The components ``[B]``, noise of the latents ``[B, r]`` and noise ``[B, D]`` in what ``draw`` gives.

    It draws from a prior whose m is 0, ψ and λ are 1, and whose components are N(1000 k, I): what it gives is
    the noise, but for the part along the axes, which is to be ignored.
    """
    plain = copy.deepcopy(prior)
    tables, labels = plain.state_dict(), torch.arange(LABELS).repeat_interleave(ROWS)
    tables["subspace.loc"].zero_()
    for name in ("noise", "spread"):
        tables[f"subspace.{name}"].fill_(1)
    size = tables["latents.loc"].shape[1]
    tables["latents.loc"].copy_(FAR * torch.arange(size)[:, None].expand(size, RANK))
    row, column = torch.tril_indices(RANK, RANK)
    tables["latents.factors"].copy_((row == column).to(torch.float64))
    x0 = draw(plain)
    basis = tables["subspace.basis"][labels]
    along = torch.einsum("bd,bdr->br", x0, basis)
    component = (along.mean(1) / FAR).round().long()
    return component, along - FAR * component[:, None], x0


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_it_is_one_page_without_the_library() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    assert not [line for line in text.splitlines() if "import" in line and "flowprior" in line]


def test_the_fit_is_the_library_s(run: Run, page: dict[str, Any], prior: Any) -> None:
    components = prior.weight.shape[1]
    assert components > 2, "more than one in each of the two mixtures, or there is little to compare"
    orders, (x, labels) = iter(run.orders), data()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *shape: run.start)
        patch.setattr(torch, "randperm", lambda size: next(orders))
        found = page["fit_prior"](x, labels, rows_each=2 * ROWS / components)
    close(found.gaussian.mean, prior.gaussian.mean)
    close(found.gaussian.noise, prior.gaussian.noise)
    # Axes are known up to their order and sign.
    turn = found.gaussian.axes.mT @ prior.gaussian.axes
    close(turn.abs().round(), turn.abs())
    close(found.gaussian.axes @ turn, prior.gaussian.axes)
    close((found.gaussian.spread[:, None] @ turn.abs())[:, 0], prior.gaussian.spread)
    close(found.weight, prior.weight)
    close(found.mean @ turn, prior.mean)
    factor = turn.mT[:, None] @ found.factor
    close(factor @ factor.mT, prior.factor @ prior.factor.mT)


def test_source_samples_are_the_library_s(run: Run, prior: Any) -> None:
    _, labels = data()

    def draw(prior: Prior) -> Tensor:
        return prior.sample(labels, generator=torch.Generator().manual_seed(5))

    noise = noise_of(run.flow.prior, draw)
    assert set(noise[0].tolist()) == set(range(prior.weight.shape[1]))
    close(prior.draw(labels, *noise), draw(run.flow.prior))


def test_pairs_are_the_library_s(run: Run, prior: Any) -> None:
    x1, labels = data()

    def draw(prior: Prior) -> Tensor:
        return run.flow.coupling.draw(prior, x1, labels, generator=torch.Generator().manual_seed(6))

    _, z, e = noise_of(run.flow.prior, draw)
    close(prior.infer(x1, labels, z, e), draw(run.flow.prior))


class Adapted(nn.Module):
    """A network of the library, called as the page calls its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, shown: Tensor) -> Tensor:
        x, t, label = shown.split([3 * DIM, 1, LABELS], dim=1)
        return self.network(x, t[:, 0], label.argmax(1))


def test_losses_and_trained_weights_are_the_library_s(run: Run, page: dict[str, Any], prior: Any) -> None:
    flow = page["Flow"](Adapted(copy.deepcopy(run.network)), prior)
    losses = []

    def batches() -> Iterator[tuple[Tensor, ...]]:
        for (x0, x1, labels), (inputs, t, _) in zip(run.pairs, run.calls, strict=True):
            close(inputs[:, :DIM], (1 - t)[:, None] * x0 + t[:, None] * x1)
            losses.append(flow.loss(x0, x1, t, labels).detach())
            yield x0, x1, t, labels

    averaged = page["train"](flow, batches(), STEPS)
    close(torch.stack(losses), torch.tensor(run.losses))
    before, after = run.network.state_dict(), averaged.network.network.state_dict()
    for name, weights in run.flow.model.state_dict().items():
        close(after[name], weights)
    assert max(float((after[name] - before[name]).abs().max()) for name in after) > 1e-4


def test_velocities_and_samples_are_the_library_s(run: Run, page: dict[str, Any], prior: Any) -> None:
    library, labels = copy.deepcopy(run.flow), torch.arange(20) % LABELS
    with torch.no_grad():
        for weights in library.model.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(8)))
    flow = page["Flow"](Adapted(library.model), prior)
    x0 = library.sample(labels, nfe=0, generator=torch.Generator().manual_seed(9))
    for t in (0.0, 0.3, 0.9, 1.0):
        times = torch.full((len(x0),), t)
        with torch.no_grad():
            close(flow.velocity(x0, times, labels), library.velocity(x0, times, labels))
    for nfe in (1, 2, 3, 4, 15):
        found = library.sample(labels, nfe=nfe, generator=torch.Generator().manual_seed(9))
        close(flow.sample(x0, labels, nfe), found)


@pytest.mark.slow
def test_it_prints_a_table_and_digits(page: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    page["main"]()
    _, *rows = capsys.readouterr().out.splitlines()
    assert min(float(row.split()[-2].removesuffix("%")) for row in rows[:7]) > 85
    assert all(len(row) == 100 for row in rows[7:])
