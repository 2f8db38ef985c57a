"""A flow whose extension is missing makes what it can, and says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.errors import CheckpointError, OptionError
from flowprior.flow import Flow
from flowprior.flow.readers import GROUP, TEXT_ENCODER, Reader
from flowprior.models import Encoder, LatentEncoder, build_model
from flowprior.models.base import built_by
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.registry import plugins
from tests.flow_folder import redescribe

SIZE = 3
REMEMBERED = {"spec": "some", "identity": "some weights"}


def flow_of(key: str = TEXT_ENCODER, **parts: Any) -> Flow:
    """A flow of embeddings whose metadata name an encoder."""
    prior = Prior.create("gaussian").fit(torch.randn(32, 1, 2, 2, generator=torch.Generator().manual_seed(0)))
    chosen = prior, Coupling.create("condot"), Path.create("condot"), Condition("embeddings", SIZE)
    return Flow(Net(), *chosen, metadata={key: REMEMBERED}, **parts)


class Net(nn.Module):
    """v = a · the mean of the condition."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.a * cond.mean(1)[:, None, None, None].expand_as(x)


# -- readers ------------------------------------------------------------------------------------


class Lengths(Reader):
    """Conditions of the lengths of texts."""

    name = "lengths"
    encoder = None

    def choose(self, encoder: Any) -> None:
        self.metadata["lengths_encoder"] = {"spec": encoder}

    def value(self, texts: Any, condition: Condition, owner: str) -> Tensor:
        return torch.tensor([[float(len(text))] * SIZE for text in texts])

    def negative(self, text: str, owner: str) -> Any:
        raise NotImplementedError


def test_a_flow_finds_the_reader_that_its_metadata_name(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = flow_of("lengths_encoder")
    with pytest.raises(OptionError, match="which no installed package has; install one that does"):
        flow.sample(["a cat"])
    installed = {(GROUP, "lengths"): Lengths}
    monkeypatch.setattr("flowprior.flow.readers.load_point", lambda *point: installed[point[:2]])
    seed = torch.Generator().manual_seed
    lengths = torch.tensor([[5.0] * SIZE, [3.0] * SIZE])
    texts = flow.sample(["a cat", "dog"], nfe=1, generator=seed(0))
    assert torch.equal(texts, flow.sample(lengths, nfe=1, generator=seed(0)))
    flow.text_encoder = "other"  # type: ignore[assignment]
    assert flow.metadata == {"lengths_encoder": {"spec": "other"}}


@pytest.mark.parametrize("blocked", ["entry point", "module"])
def test_without_its_reader_a_flow_takes_embeddings(monkeypatch: pytest.MonkeyPatch, blocked: str) -> None:
    if blocked == "module":
        monkeypatch.setitem(sys.modules, "flowprior.extensions.text.reader", None)
    else:
        monkeypatch.setattr(plugins, "points_of", lambda group: [])
    flow = flow_of()
    assert flow.sample(torch.rand(4, SIZE), nfe=2).shape == (4, 1, 2, 2)
    for options in ({"cond": ["a cat"]}, {"cond": torch.rand(1, SIZE), "guidance": 2.0, "negative": "a dog"}):
        with pytest.raises(OptionError, match=r"texts needs 'text' of flowprior\.readers, which .*; install"):
            flow.sample(**options)


def test_a_flow_is_loaded_and_sampled_without_importing_an_extension(tmp_path: FilePath) -> None:
    flow = flow_of()
    flow.model = build_model("mlp:width=4,depth=1", flow.state_shape, flow.condition)
    flow.specs["model"] = built_by(flow.model)
    flow.save(tmp_path)
    program = (
        "import sys, torch\nfrom flowprior import Flow\n"
        f"Flow.load(sys.argv[1]).sample(torch.zeros(2, {SIZE}), nfe=1)\n"
        "assert not [name for name in sys.modules if name.startswith('flowprior.extensions')]"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


# -- encoders of latents ------------------------------------------------------------------------


class Halved(LatentEncoder):
    """Means of squares of four pixels.

    Args:
        package: that it needs.
    """

    channels, latent_channels, factor = 1, 1, 2

    def __init__(self, package: str = "torch") -> None:
        super().__init__()
        self.package = package
        try:
            __import__(package)
        except ImportError as error:
            raise OptionError(f"encoder 'halved' needs {package}; run `pip install {package}`") from error
        self.fix()

    def _encode(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 2)

    def _decode(self, z: Tensor) -> Tensor:
        return z.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.fixture
def saved(tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> FilePath:
    """A flow in the latents of an encoder that is registered for this test alone."""
    Encoder.available()  # registers those of extensions where they stay
    monkeypatch.setattr(Encoder.registry, "_records", dict(Encoder.registry._records))
    Encoder.register("halved")(Halved)
    flow_of(encoder=Halved(), picture_shape=torch.Size([1, 4, 4])).save(tmp_path)
    assert Flow.load(tmp_path, model=Net()).sample(torch.rand(5, SIZE), nfe=1).shape == (5, 1, 4, 4)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "advice"),
    [
        ("halved:package=a_package_that_nobody_has", "run `pip install a_package_that_nobody_has`"),
        ("doubled", "no installed package has it; install the one that does"),
    ],
)
def test_without_its_encoder_a_flow_makes_latents(saved: FilePath, spec: str, advice: str) -> None:
    redescribe(saved, encoder={"spec": spec, "identity": "halved", "event_shape": [1, 4, 4]})
    with pytest.warns(RuntimeWarning) as warned:
        flow = Flow.load(saved, model=Net())
    assert [str(warning.message) for warning in warned] == [
        f"the encoder '{spec}' of this flow is missing, and its samples are latents [1, 2, 2]: "
        + (advice if "halved" not in spec else f"encoder 'halved' needs a_package_that_nobody_has; {advice}")
    ]
    assert flow.event_shape == flow.state_shape == (1, 2, 2)
    assert flow.sample(torch.rand(5, SIZE), nfe=1).shape == (5, 1, 2, 2)
    with pytest.raises(CheckpointError, match=f"the encoder '{spec}' was missing when this flow was loaded"):
        flow.save(saved / "again")
