"""A LightningModule that trains a flow with a prior and a coupling of flowprior.

Lightning brings the trainer: devices, checkpoints, logs. To run it: pip install
lightning, then python examples/lightning_module.py.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from flowprior import Coupling, Flow, Path, Prior, evaluate
from flowprior.conditions import Condition
from flowprior.data import Data, load_data
from flowprior.models import build_model
from flowprior.ops import flow_matching_loss


class FlowModule(LightningModule):
    """A velocity network and all that its training needs.

    The prior is fitted before the training. It is a module, so the trainer moves it
    to the device and its checkpoints hold it.

    Args:
        prior: a fitted prior.
        condition: of the data.
        coupling: name of the coupling.
        lr: learning rate.
    """

    def __init__(
        self,
        prior: Prior,
        condition: Condition,
        coupling: str = "posterior",
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.prior, self.condition, self.lr = prior, condition, lr
        self.coupling, self.path = Coupling.create(coupling), Path.create("condot")
        self.network = build_model("auto", prior.event_shape, condition)
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(0.999)
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of data ``[B, *event]`` and labels ``[B]``, a scalar."""
        x1, labels = batch
        x0, x1 = self.coupling.pairs(self.prior, x1, labels)
        t = torch.rand(len(x1), device=self.device)
        x_t, u_t, t = self.path.interpolate(x0, x1, t)
        loss = flow_matching_loss(self.network(x_t, t, labels), u_t)
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the averaged weights."""
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of the network, which alone is trained."""
        return torch.optim.AdamW(self.network.parameters(), lr=self.lr)

    def to_flow(self) -> Flow:
        """Return the flow with averaged weights."""
        network = self.average.module.eval()
        return Flow(network, self.prior, self.coupling, self.path, self.condition)


def train(data: Data, steps: int, seed: int = 0) -> Flow:
    """Fit the prior to ``data``, train for ``steps`` batches, return the flow."""
    torch.manual_seed(seed)
    prior = Prior.create("latent-gmm").fit(data)
    module = FlowModule(prior, data.condition)
    x, labels = data.batch(torch.arange(len(data)))
    assert isinstance(labels, Tensor)
    loader = DataLoader(TensorDataset(x, labels), batch_size=128, shuffle=True)
    trainer = Trainer(max_steps=steps, logger=False, enable_checkpointing=False)
    trainer.fit(module, loader)
    return module.to_flow()


def main() -> None:
    """Train on digits, and compare samples with the test set."""
    data, held_out = load_data("digits"), load_data("digits", split="test")
    flow = train(data, steps=500)
    print(evaluate(flow, data, reference=held_out, nfe=[0, 4], metrics=["w2"]))


if __name__ == "__main__":
    main()
