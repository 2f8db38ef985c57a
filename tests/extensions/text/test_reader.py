"""Sampling from captions: the encoder that a flow remembers, its checks, negative captions, others' words."""

from __future__ import annotations

import copy
import sys
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowprior.conditions import Condition
from flowprior.couplings import Coupling
from flowprior.data import TensorData
from flowprior.errors import FlowpriorError, InputError, OptionError
from flowprior.flow import Flow
from flowprior.flow.readers import TEXT_ENCODER
from flowprior.models import Encoder
from flowprior.paths import Path
from flowprior.priors import Prior
from flowprior.training import train
from tests.text_models import save_bert
from tests.words import WordEncoder

SIZE = WordEncoder().size


class Net(nn.Module):
    """v = A x + B c + t."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.c = nn.Linear(2, 2), nn.Linear(SIZE, 2)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        return self.x(x) + self.c(cond) + t[:, None]


@pytest.fixture
def flow(generator: torch.Generator) -> Flow:
    x, cond = torch.randn(64, 2, generator=generator), torch.rand(64, SIZE, generator=generator)
    prior = Prior.create("gaussian").fit((x, cond))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Flow(
            Net(), prior, Coupling.create("condot"), Path.create("condot"), Condition("embeddings", SIZE)
        )


def drawn(flow: Flow, cond: Any, n: int | None = None, **options: Any) -> Tensor:
    return flow.sample(cond, n, nfe=3, generator=torch.Generator().manual_seed(1), **options)


def test_captions_stand_for_their_embeddings(flow: Flow) -> None:
    flow.text_encoder = encoder = WordEncoder()
    captions = ["a cat", "a dog", "a cat"]
    pooled = encoder.encode(captions).pooled
    assert torch.equal(drawn(flow, captions), drawn(flow, pooled))
    assert torch.equal(drawn(flow, "a cat", 2), drawn(flow, pooled[[0, 0]]))
    assert drawn(flow, "a cat").shape == (1, 2)
    x = torch.zeros(3, 2)
    assert torch.equal(flow.log_prob(x, captions), flow.log_prob(x, pooled))


def test_a_list_of_captions_and_n_have_to_agree(flow: Flow) -> None:
    flow.text_encoder = WordEncoder()
    with pytest.raises(InputError, match="expected one condition for each of 3 samples, got 2"):
        flow.sample(["a", "b"], 3)
    with pytest.raises(InputError, match="for each of -1 samples"):
        flow.sample("a", -1)


def test_without_an_encoder_it_is_said_how_to_name_one(flow: Flow) -> None:
    assert flow.text_encoder is None
    with pytest.raises(InputError, match=r'flow\.sample: got texts, .* flow\.text_encoder = "minilm"'):
        flow.sample(["a cat"])


def test_an_encoder_of_another_width_is_refused(flow: Flow) -> None:
    flow.text_encoder = WordEncoder(7)
    with pytest.raises(InputError, match=r"encoder 'WordEncoder' gives 7 numbers, .*embeddings \[B, 6\]"):
        flow.sample(["a cat"])


def test_an_encoder_of_another_identity_is_refused_whenever_it_is_named(flow: Flow) -> None:
    flow.metadata[TEXT_ENCODER] = {"spec": "no-such", "identity": "words of 9 numbers"}
    flow.text_encoder = WordEncoder()
    for _ in range(2):
        with pytest.raises(
            InputError, match="trained on embeddings of 'words of 9 numbers', got encoder 'words of 6"
        ):
            flow.sample(["a cat"])
    flow.metadata[TEXT_ENCODER]["identity"] = "words of 6 numbers"
    assert drawn(flow, ["a cat"]).isfinite().all()


def test_a_flow_of_labels_takes_no_captions(tiny_flow: Flow) -> None:
    with pytest.raises(InputError, match="got texts, but this flow's condition is int64 labels"):
        tiny_flow.sample(["a three"])


@pytest.mark.parametrize("wrong", ["no-such-encoder", 5, "hugging-face:path=/no/where"])
def test_what_is_no_text_encoder_is_refused_at_once(flow: Flow, wrong: Any) -> None:
    with pytest.raises(FlowpriorError):
        flow.text_encoder = wrong
    assert flow.text_encoder is None


def test_an_encoder_of_other_things_is_no_text_encoder(flow: Flow) -> None:
    class Latents(Encoder):
        """No texts."""

        def identity(self) -> str:
            return "latents"

    with pytest.raises(OptionError, match="encoder 'Latents' encodes no texts; choose another"):
        flow.text_encoder = Latents()  # pyright: ignore[reportAttributeAccessIssue]


def test_guidance_leads_away_from_a_negative_caption(flow: Flow, generator: torch.Generator) -> None:
    flow.text_encoder = encoder = WordEncoder()
    cond, negative = encoder.encode(["a cat", "a dog"]).pooled.split(1)
    x, t = torch.randn(1, 2, generator=generator), torch.tensor([0.3])
    wanted, unwanted = flow.velocity(x, t, cond), flow.velocity(x, t, negative)
    expected = unwanted + 2.5 * (wanted - unwanted)
    torch.testing.assert_close(flow.velocity(x, t, cond, 2.5, negative), expected)
    with_null = drawn(flow, ["a cat"] * 4, guidance=2.5)
    by_caption = drawn(flow, ["a cat"] * 4, guidance=2.5, negative="a dog")
    assert torch.equal(by_caption, drawn(flow, ["a cat"] * 4, guidance=2.5, negative=negative))
    assert not torch.allclose(by_caption, with_null)
    assert torch.equal(by_caption, drawn(flow, ["a cat"] * 4, guidance=2.5, negative="a dog", batch_size=3))
    zeros = torch.zeros(1, SIZE)
    torch.testing.assert_close(drawn(flow, ["a cat"] * 4, guidance=2.5, negative=zeros), with_null)


def test_a_negative_caption_needs_guidance_and_no_dropout(flow: Flow) -> None:
    flow.text_encoder = WordEncoder()
    flow.metadata["config"] = {"training": {"condition_dropout": 0.0}}
    with pytest.raises(OptionError, match="does nothing at guidance=1; choose guidance=2"):
        flow.sample(["a cat"], negative="a dog")
    for null in (None, "", " \n"):
        with pytest.raises(OptionError, match="never saw the null"):
            flow.sample(["a cat"], guidance=2, negative=null)
    assert drawn(flow, ["a cat"], guidance=2, negative="a dog").isfinite().all()
    with pytest.raises(InputError, match=r"expected one negative condition, got 2"):
        flow.sample(["a cat"], guidance=2, negative=torch.zeros(2, SIZE))


def test_a_copy_has_the_encoder_too(flow: Flow) -> None:
    flow.text_encoder = WordEncoder()
    other = copy.deepcopy(flow)
    assert torch.equal(drawn(other, ["a cat"]), drawn(flow, ["a cat"]))
    other.text_encoder = None
    assert flow.text_encoder is not None
    assert TEXT_ENCODER in flow.metadata
    assert TEXT_ENCODER not in other.metadata


# -- from the data to the file and back ----------------------------------------------------------


def trained(data: TensorData, out: FilePath | None = None, **options: Any) -> Flow:
    """A few steps."""
    short: dict[str, Any] = {"steps": 3, "batch_size": 8, "warmup": 1, "device": "cpu", "sample_every": 0}
    parts = {"prior": "gaussian", "coupling": "condot", "model": "mlp:width=8"}
    return train(data, out=out, **parts, **short, **options)


def captioned(generator: torch.Generator) -> TensorData:
    captions = ["a cat", "a dog", "", "a red dog"] * 8
    return TensorData(torch.randn(32, 2, generator=generator), WordEncoder().encode(captions).pooled)


def test_a_flow_remembers_the_encoder_of_its_data(
    words: type[WordEncoder], generator: torch.Generator, tmp_path: FilePath
) -> None:
    data = captioned(generator)
    data.text_encoder, data.text_encoder_identity = "words", WordEncoder().identity()
    flow = trained(data, tmp_path / "run")
    assert flow.metadata[TEXT_ENCODER] == {"spec": "words", "identity": "words of 6 numbers"}
    again = Flow.load(tmp_path / "run")
    assert again.text_encoder is not None
    assert torch.equal(drawn(again, ["a cat"], guidance=2), drawn(flow, ["a cat"], guidance=2))
    data.text_encoder_identity = "other weights"
    with pytest.raises(InputError, match="trained on embeddings of 'other weights'"):
        trained(data).sample(["a cat"])


def test_what_is_named_afterwards_is_saved_with_the_flow(
    words: type[WordEncoder], generator: torch.Generator, tmp_path: FilePath
) -> None:
    flow = trained(captioned(generator))
    flow.text_encoder = "words"
    flow.save(tmp_path / "flow")
    again = Flow.load(tmp_path / "flow")
    assert torch.equal(drawn(again, ["a cat"]), drawn(flow, ["a cat"]))


def test_an_encoder_that_moved_away_can_be_named_where_it_is(flow: Flow) -> None:
    flow.metadata[TEXT_ENCODER] = {
        "spec": "hugging-face:path=/no/where",
        "identity": WordEncoder().identity(),
    }
    with pytest.raises(
        FlowpriorError, match=r"that this flow remembers cannot be had: .*no /no/where.*--encoder"
    ):
        flow.sample(["a cat"])
    flow.text_encoder = WordEncoder()
    assert drawn(flow, ["a cat"]).isfinite().all()


@pytest.mark.parametrize("strange", ["words", {"spec": 3}, [1], {"identity": "x"}])
def test_metadata_of_another_form_name_no_encoder(flow: Flow, strange: Any) -> None:
    flow.metadata[TEXT_ENCODER] = strange
    assert flow.text_encoder is None


def test_captions_are_dropped_in_training_by_default_and_the_share_is_recorded(
    words: type[WordEncoder], generator: torch.Generator, tmp_path: FilePath
) -> None:
    data = captioned(generator)
    assert trained(data).metadata["config"]["training"]["condition_dropout"] == 0
    data.text_encoder = "words"
    flow = trained(data, tmp_path / "run")
    assert flow.metadata["config"]["training"]["condition_dropout"] == 0.1
    assert "condition_dropout = 0.1" in (tmp_path / "run" / "config.toml").read_text()
    assert trained(data, condition_dropout=0.25).metadata["config"]["training"]["condition_dropout"] == 0.25
    trained(data, tmp_path / "run", resume=True)
    with pytest.raises(FlowpriorError, match=r"condition_dropout 0\.1 -> 0\.0"):
        trained(captioned(generator), tmp_path / "run", resume=True)


def test_where_transformers_is_missing_texts_alone_are_refused(
    flow: Flow, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.metadata[TEXT_ENCODER] = {"spec": f"hugging-face:path={save_bert(tmp_path)}", "identity": None}
    for module in ("transformers", "transformers.utils"):
        monkeypatch.setitem(sys.modules, module, None)
    assert drawn(flow, torch.rand(2, SIZE)).shape == (2, 2)
    with pytest.raises(OptionError, match="needs transformers; run `pip install transformers`") as refused:
        flow.sample(["a cat"])
    assert "\n" not in str(refused.value)
