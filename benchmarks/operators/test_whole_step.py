"""Whole training steps: ours, and loops that use the peers' public functions; the same network and data.

A step draws its batch and source samples, evaluates the network, clips, steps the optimiser and the averaged
weights. All take the same network, fused AdamW, clipping and average, and batches by index, so what differs
is what lies around the network. ``default`` is the prior, coupling and prediction that ``flowprior train``
takes when nothing is chosen. One row more is a peer's loop with what torch does by itself: a ``DataLoader``
that collates examples one by one, and AdamW that is not fused. ``test_around_the_network`` takes off the
share of forward pass, backward pass and optimiser, timed in the same turns: each way's own network's, as ours
is shown more than x_t where the default prediction is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.operators.groups import WHOLE, Group, rows_of
from benchmarks.operators.peers import Call, peer
from benchmarks.operators.problem import pictures
from flowprior import Prior
from flowprior.data import TensorData
from flowprior.flow.predictions import Preconditioned
from flowprior.models import build_model
from flowprior.training import RunConfig, TrainingConfig
from flowprior.training.batches import PairStream
from flowprior.training.components import resolve_components, resolve_config
from flowprior.training.loop import training_step
from flowprior.training.state import TrainingState

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""A peer's loss of a network on data x1 ``[B, *event]`` with labels ``[B]``."""
FITTED, STEPS = 20_000, 100_000
NETWORKS = {"unet": "unet:widths=32-64", "mlp": "mlp:width=256,depth=3"}
DEFAULT = ("latent-gmm", "posterior")
GAUSSIAN = ("gaussian", "condot")
OT = ("gaussian", "ot:condition=ignore")
SIZES = [("unet", 64, "default"), ("mlp", 64, "default"), ("mlp", 64, "condot"), ("mlp", 256, "ot")]
LR, CLIP, EMA = 1e-3, 1.0, 0.999
DRAWN_NFE = 15


@cache
def data() -> TensorData:
    """Pictures with labels."""
    x, labels = pictures().x[:FITTED].view(-1, 1, 28, 28), pictures().y[:FITTED]
    return TensorData(x, labels, name="pictures", classes=10, is_image=True)


@cache
def fitted(spec: str) -> Prior:
    """A prior fitted to the pictures, once for all groups."""
    return Prior.registry.resolve(spec).fit(data().batches(), generator=torch.Generator().manual_seed(0))


def begun(network: str, batch: int, prior: str, coupling: str) -> TrainingState:
    """A run before its first step, with a fitted prior."""
    training = TrainingConfig(steps=STEPS, batch_size=batch, lr=LR, warmup=0, clip=CLIP, ema=EMA)
    named = RunConfig(prior=prior, coupling=coupling, model=NETWORKS[network], training=training)
    parts = resolve_components(resolve_config(named, {}), data=data(), prior=fitted(prior))
    return TrainingState(parts)


def our_step(network: str, batch: int, prior: str, coupling: str) -> Call:
    """The training loop's own step of a run that has begun."""
    state = begun(network, batch, prior, coupling)
    parts = state.parts
    pairs = PairStream(parts.data, parts.prior, parts.coupling, batch, state.randomness)
    return partial(training_step, state, pairs)


def our_draw(network: str, count: int, prior: str, coupling: str) -> Call:
    """``flow.sample`` with equal steps."""
    flow = begun(network, 64, prior, coupling).flow()
    cond = torch.arange(count) % 10
    return partial(flow.sample, cond, nfe=DRAWN_NFE, sampler="euler")


def peer_draw(network: str, count: int) -> Call:
    """Noise carried by torchdiffeq's Euler, as torchcfm's examples draw."""
    odeint = peer("torchdiffeq").odeint
    model = build_model(NETWORKS[network], data().event_shape, data().condition).eval()
    cond, times = torch.arange(count) % 10, torch.linspace(0, 1, DRAWN_NFE + 1)

    @torch.no_grad()
    def draw() -> Tensor:
        x0 = torch.randn(count, *data().event_shape)
        return odeint(lambda t, x: model(x, t.expand(len(x)), cond), x0, times, method="euler")[-1]

    return draw


def peer_step(
    network: str,
    batch: int,
    make_loss: Callable[[], Loss],
    *,
    plain: bool = False,
    batches: Iterator[tuple[Tensor, ...]] | None = None,
    inputs: int = 1,
) -> Call:
    """A loop as the peers' examples have it: batch, loss, clipping, AdamW, averaged weights.

    ``plain``: with torch's ``DataLoader`` and the AdamW that it takes by itself. ``batches``: in their place.
    ``inputs``: tensors of the pictures' shape that the network sees.
    """
    loss_of = make_loss()
    model = build_model(NETWORKS[network], data().event_shape, data().condition, inputs)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=None if plain else True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    batches = batches or (from_loader(batch) if plain else by_index(batch))

    def step() -> None:
        x1, cond = next(batches)
        optimizer.zero_grad()
        loss = loss_of(model, x1, cond)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)

    return step


def by_index(batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of the data in a random order, epoch after epoch."""
    x, labels = data().x, data().cond
    assert isinstance(labels, Tensor)
    while True:
        for rows in torch.randperm(len(x)).split(batch)[: len(x) // batch]:
            yield x[rows], labels[rows]


def from_loader(batch: int) -> Iterator[tuple[Tensor, ...]]:
    """The same from torch's ``DataLoader``."""
    x, labels = data().x, data().cond
    assert isinstance(labels, Tensor)
    loader = DataLoader(TensorDataset(x, labels), batch_size=batch, shuffle=True, drop_last=True)
    while True:
        yield from loader


def torchcfm_loss() -> Loss:
    """torchcfm's ConditionalFlowMatcher, as its example of conditional pictures has it."""
    matcher = peer("torchcfm.conditional_flow_matching").ConditionalFlowMatcher(sigma=0.0)

    def loss(model: nn.Module, x1: Tensor, cond: Tensor) -> Tensor:
        t, x_t, u_t = matcher.sample_location_and_conditional_flow(torch.randn_like(x1), x1)
        return (model(x_t, t, cond) - u_t).square().mean()

    return loss


def torchcfm_ot_loss() -> Loss:
    """torchcfm's ExactOptimalTransportConditionalFlowMatcher."""
    matcher = peer("torchcfm.conditional_flow_matching").ExactOptimalTransportConditionalFlowMatcher(
        sigma=0.0
    )

    def loss(model: nn.Module, x1: Tensor, cond: Tensor) -> Tensor:
        drawn = matcher.guided_sample_location_and_conditional_flow(torch.randn_like(x1), x1, y1=cond)
        t, x_t, u_t, _, labels = drawn
        return (model(x_t, t, labels) - u_t).square().mean()

    return loss


def flow_matching_loss() -> Loss:
    """flow_matching's CondOTProbPath, as its example of pictures has it."""
    path = peer("flow_matching.path").CondOTProbPath()

    def loss(model: nn.Module, x1: Tensor, cond: Tensor) -> Tensor:
        sample = path.sample(t=torch.rand(len(x1)), x_0=torch.randn_like(x1), x_1=x1)
        return (model(sample.x_t, sample.t, cond) - sample.dx_t).square().mean()

    return loss


@lru_cache(maxsize=1)
def whole_step(network: str, batch: int, ours: str) -> Group:
    ways = {"default": DEFAULT, "condot": GAUSSIAN, "ot": OT}
    makers = {WHOLE: partial(our_step, network, batch, *ways[ours])}
    if ours == "default":
        makers["flowprior, gaussian + condot"] = partial(our_step, network, batch, *GAUSSIAN)
    if ours == "ot":
        makers["torchcfm, OT"] = partial(peer_step, network, batch, torchcfm_ot_loss)
    else:
        makers["torchcfm"] = partial(peer_step, network, batch, torchcfm_loss)
        makers["torchcfm, DataLoader"] = partial(peer_step, network, batch, torchcfm_loss, plain=True)
        makers["flow_matching"] = partial(peer_step, network, batch, flow_matching_loss)
    return Group(f"a whole step of {batch} pictures, {network}, {ours}", makers)


test_whole_step = rows_of(whole_step, SIZES)


def network_step(network: str, batch: int, inputs: int = 1) -> Call:
    """A peer's loop on one batch that is always the same: all that is left is the network's share."""
    x1, cond = next(by_index(batch))
    x0, t = torch.randn_like(x1), torch.rand(batch)
    x_t, u_t = x0.lerp(x1, t.view(-1, 1, 1, 1)), x1 - x0
    shown = torch.cat([x_t] * inputs, dim=1)

    def make_loss() -> Loss:
        return lambda model, _, __: (model(shown, t, cond) - u_t).square().mean()

    return peer_step(network, batch, make_loss, batches=repeat((x1, cond)), inputs=inputs)


NETWORK = "the network alone"
OWN_NETWORK = "the network of ours alone"


@lru_cache(maxsize=1)
def around_the_step(network: str, batch: int, ours: str) -> Group:
    """The ways of a whole step without torch's loader, and the networks alone, which are taken off them."""
    whole = whole_step(network, batch, ours)
    makers = {way: make for way, make in whole.makers.items() if "DataLoader" not in way}
    makers[NETWORK] = partial(network_step, network, batch)
    if ours == "default":
        makers[OWN_NETWORK] = partial(network_step, network, batch, Preconditioned.inputs)
    goals = {"torchcfm": 2.0, "torchcfm, OT": 5.0, "flow_matching": 2.0}
    goals = {way: goal for way, goal in goals.items() if way in makers}
    return Group(f"around the network in a step of {batch} pictures, {network}, {ours}", makers, goals)


def without_the_network(benchmark: Any, size: tuple[Any, ...], way: str) -> None:
    """Of our own row, milliseconds and ratios of what is left of each way without the network's share."""
    if benchmark.enabled and way == WHOLE:
        whole = dict(benchmark.extra_info["milliseconds"])
        network = whole.pop(NETWORK)
        own_network = whole.pop(OWN_NETWORK, network)
        left = {name: max(value - network, 0.0) for name, value in whole.items()}
        left[WHOLE] = own = max(whole[WHOLE] - own_network, 1e-6)
        ratio = {name: value / own for name, value in left.items() if name != WHOLE}
        benchmark.extra_info.update(milliseconds=left, ratio=ratio, network_milliseconds=own_network)


AROUND = [("mlp", 64, "default"), ("mlp", 64, "condot"), ("mlp", 256, "ot")]
test_around_the_network = rows_of(around_the_step, AROUND, then=without_the_network)


@lru_cache(maxsize=1)
def whole_draw(network: str, count: int) -> Group:
    makers = {
        WHOLE: partial(our_draw, network, count, *DEFAULT),
        "flowprior, gaussian + condot": partial(our_draw, network, count, *GAUSSIAN),
        "torchdiffeq": partial(peer_draw, network, count),
    }
    return Group(f"{count} pictures drawn with {DRAWN_NFE} evaluations, {network}", makers)


test_whole_draw = rows_of(whole_draw, [("unet", 64)])
