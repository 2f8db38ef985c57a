"""Adapter for diffusers, on networks built from tiny local configurations."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from flowprior.conditions import Condition, TokenStates
from flowprior.errors import InputError, OptionError
from flowprior.models import DiffusersModel, build_model
from tests.little_memory import little_memory

EVENT = torch.Size([1, 8, 8])

diffusers = pytest.importorskip("diffusers")


@pytest.mark.parametrize("kind", ["none", "labels", "embeddings"])
def test_a_local_config_is_fitted_to_the_data(kind, tmp_path):
    attention = "CrossAttn" if kind == "embeddings" else "Attn"
    config = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", f"{attention}DownBlock2D"],
        "up_block_types": [f"{attention}UpBlock2D", "UpBlock2D"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    condition = Condition(kind, 0 if kind == "none" else 5)
    model = build_model(f"diffusers:config={tmp_path}", EVENT, condition)
    assert model.net.config.in_channels == model.net.config.out_channels == 1
    assert list(model.net.config.block_out_channels) == [8, 16]
    if kind == "labels":
        assert model.net.class_embedding.weight.shape[0] == 6
    if kind == "embeddings":
        assert model.net.config.cross_attention_dim == 5
    assert type(model.net).__name__ == ("UNet2DConditionModel" if kind == "embeddings" else "UNet2DModel")


class Recorder(torch.nn.Module):
    """Stands in for a network and keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"block_out_channels": (8, 16, 16)})()

    def forward(self, x, timestep, return_dict=True, **conditioning):
        self.x, self.timestep, self.conditioning = x, timestep, conditioning
        return (x,)


def test_times_are_scaled_to_the_thousand_steps_of_diffusers():
    net = Recorder()
    DiffusersModel(net, Condition())(torch.randn(2, 1, 8, 8), torch.tensor([0.0, 0.5]))
    assert net.timestep.tolist() == [0.0, 500.0]
    assert net.conditioning == {}


def test_embeddings_are_one_token_labels_are_class_labels_and_tokens_have_a_mask():
    x, t = torch.randn(2, 1, 8, 8), torch.rand(2)
    net = Recorder()
    DiffusersModel(net, Condition("embeddings", 3))(x, t, torch.ones(2, 3, dtype=torch.float64))
    assert net.conditioning["encoder_hidden_states"].shape == (2, 1, 3)
    assert net.conditioning["encoder_hidden_states"].dtype == x.dtype
    DiffusersModel(net, Condition("labels", 3))(x, t, torch.tensor([0, 3]))
    assert net.conditioning["class_labels"].tolist() == [0, 3]
    mask = torch.tensor([[True, False], [True, True]])
    DiffusersModel(net, Condition("tokens", 5))(x, t, TokenStates(torch.randn(2, 2, 5), mask))
    assert net.conditioning["encoder_hidden_states"].shape == (2, 2, 5)
    assert net.conditioning["encoder_attention_mask"].tolist() == mask.tolist()
    with pytest.raises(InputError, match=r"diffusers: expected int64 labels .*, got None"):
        DiffusersModel(net, Condition("labels", 3))(x, t, None)


def test_sizes_are_padded_for_the_levels_and_cropped():
    net, x = Recorder(), torch.randn(2, 1, 5, 9)
    assert torch.equal(DiffusersModel(net, Condition())(x, torch.rand(2)), x)
    assert net.x.shape == (2, 1, 8, 12)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(OptionError, match="pip install diffusers"):
        build_model("diffusers", EVENT, Condition())


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), ("[1]", "expected an object")])
def test_broken_configs_are_named(content, message, tmp_path):
    file = tmp_path / "net.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(OptionError, match=message):
        build_model(f"diffusers:config={file}", EVENT, Condition())


def test_a_config_without_an_end_is_refused_before_it_is_read():
    with little_memory(), pytest.raises(OptionError, match="cannot be read: it is no regular file"):
        build_model("diffusers:config=/dev/zero", EVENT, Condition())


def test_several_parts_are_refused_with_a_name_to_choose():
    condition = Condition("parts", parts=(("a", Condition("labels", 3)), ("b", Condition("tokens", 3))))
    with pytest.raises(OptionError, match="model 'unet', or one part of it, such as diffusers:reads=a"):
        build_model("diffusers", EVENT, condition)
    assert build_model("diffusers:widths=8,reads=b", EVENT, condition)
