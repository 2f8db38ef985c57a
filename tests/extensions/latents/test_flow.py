"""A flow in latents: trained, sampled as pictures, saved with its encoder, evaluated on pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import Flow, evaluate, train
from flowprior.errors import CheckpointError, CouplingError, InputError, OptionError
from flowprior.extensions.latents.vae import IdentityEncoder, VaeEncoder
from flowprior.flow.description import tensors_of
from flowprior.training import read_metrics
from tests.expected_warnings import FEW_REFERENCES
from tests.extensions.latents.pictures import pictures, small_vae
from tests.flow_folder import description_of, redescribe

SHORT: dict[str, Any] = {"steps": 4, "batch_size": 8, "warmup": 1, "sample_every": 2, "device": "cpu"}
PARTS: dict[str, Any] = {"prior": "gmm", "coupling": "condot", "model": "mlp:width=16,depth=1"}
LABELS = torch.arange(6) % 3


@pytest.fixture(scope="module")
def vae() -> VaeEncoder:
    return small_vae()


@pytest.fixture(scope="module")
def flow(vae: VaeEncoder) -> Flow:
    return train(pictures(), latent=vae, **PARTS, **SHORT)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_samples_are_pictures_and_latents_on_request(flow: Flow, vae: VaeEncoder) -> None:
    assert (flow.event_shape, flow.state_shape) == ((3, 8, 8), (2, 2, 2))
    latents = flow.sample(LABELS, nfe=2, generator=seeded(), decode=False)
    assert latents.shape == (6, 2, 2, 2)
    assert torch.equal(flow.sample(LABELS, nfe=2, generator=seeded()), vae.decode(latents))
    source = flow.sample(LABELS, nfe=0, generator=seeded(), decode=False)
    assert torch.equal(flow.sample(LABELS, nfe=0, generator=seeded()), vae.decode(source))


def test_batches_and_trajectories_are_decoded_too(flow: Flow) -> None:
    whole = flow.solve(LABELS, nfe=2, generator=seeded(), trajectory=True)
    parts = flow.solve(LABELS, nfe=2, generator=seeded(), trajectory=True, batch_size=4)
    assert whole.trajectory is not None
    assert whole.trajectory.shape == (3, 6, 3, 8, 8)
    torch.testing.assert_close(parts.trajectory, whole.trajectory)
    torch.testing.assert_close(whole.trajectory[-1], whole.x)


def test_the_prior_is_fitted_to_latents(flow: Flow, vae: VaeEncoder) -> None:
    z = vae.encode(pictures().x)
    torch.testing.assert_close(flow.prior.mean(torch.tensor([1]))[0], z[1::3].mean(0), atol=1e-4, rtol=0)
    assert torch.equal(flow.encode(pictures().x), z)


def test_the_likelihood_is_that_of_latents(flow: Flow) -> None:
    z = flow.encode(pictures().x[:2])
    assert flow.log_prob(z, LABELS[:2], divergence="hutchinson").shape == (2,)
    with pytest.raises(InputError, match=r"expected x of shape \[B, 2, 2, 2\].*give it flow\.encode\(x\)"):
        flow.log_prob(pictures().x[:2], LABELS[:2])


def test_events_are_held_out_before_they_are_encoded(vae: VaeEncoder, tmp_path: Path) -> None:
    """The loss of latents that are cached is that of those in memory, and of pixels under ``identity``."""
    losses = {}
    for name, latent in {"cached": vae, "memory": vae, "identity": "identity", "none": "none"}.items():
        options = {"validation": 12, "out": tmp_path / name, "cache": False if name == "memory" else None}
        train(pictures(), latent=latent, **PARTS, **SHORT, **options)
        losses[name] = [
            line for line in read_metrics(tmp_path / name / "metrics.jsonl") if "validation" in line["kind"]
        ]
    assert len(losses["none"]) == 1
    assert losses["cached"] == losses["memory"]
    assert losses["identity"] == losses["none"]
    assert (tmp_path / "cached" / "latents" / "validation" / "latents.npy").is_file()


def test_a_run_that_holds_events_out_can_be_replaced(vae: VaeEncoder, tmp_path: Path) -> None:
    options = {"validation": 12, "out": tmp_path, **PARTS, **SHORT}
    train(pictures(), latent=vae, **options)
    held = tmp_path / "latents" / "validation" / "latents.npy"
    before = held.read_bytes()
    train(pictures(), latent="identity", overwrite=True, **options)
    assert len(held.read_bytes()) > len(before)


def test_a_flow_in_the_latents_of_identity_is_the_flow_in_pixels() -> None:
    latent, plain = (train(pictures(), latent=name, **PARTS, **SHORT) for name in ("identity", "none"))
    assert isinstance(latent.encoder, IdentityEncoder)
    assert plain.encoder is None
    samples = [each.sample(LABELS, nfe=2, generator=seeded()) for each in (latent, plain)]
    assert torch.equal(*samples)


# -- files --------------------------------------------------------------------------------------


def test_own_weights_lie_with_the_flow(flow: Flow, tmp_path: Path) -> None:
    flow.save(tmp_path / "flow")
    loaded = Flow.load(tmp_path / "flow")
    assert loaded.encoder is not None
    assert flow.encoder is not None
    assert loaded.encoder.identity() == flow.encoder.identity()
    samples = [each.sample(LABELS, nfe=2, generator=seeded()) for each in (flow, loaded)]
    assert torch.equal(*samples)
    loaded.save(tmp_path / "again")
    for path in (tmp_path / "flow").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_flow_of_doubles_comes_back(flow: Flow, tmp_path: Path) -> None:
    import copy

    double = copy.deepcopy(flow).double()
    double.save(tmp_path / "flow")
    loaded = Flow.load(tmp_path / "flow")
    samples = [each.sample(LABELS, nfe=2, generator=seeded()) for each in (double, loaded)]
    assert samples[0].dtype == torch.float64
    assert torch.equal(*samples)


def test_a_flow_without_an_encoder_is_written_as_before(tmp_path: Path, flow: Flow) -> None:
    train(pictures(), **PARTS, **SHORT).save(tmp_path / "plain")
    flow.save(tmp_path / "latent")
    plain, latent = (description_of(tmp_path / name) for name in ("plain", "latent"))
    assert (plain["format"], "encoder" in plain) == (3, False)
    assert latent["format"] == 4
    assert latent["encoder"]["event_shape"] == [3, 8, 8]
    assert latent["event_shape"] == [2, 2, 2]


@pytest.mark.parametrize(
    "entry",
    [
        {"spec": "vae", "identity": "vae sha256 0", "event_shape": [3, 8, 8]},
        {"spec": "vae", "identity": ""},
        {"spec": 3, "identity": "", "event_shape": [3, 8, 8]},
        {"spec": "vae", "identity": "", "event_shape": "large"},
        [],
    ],
)
def test_a_changed_encoder_is_refused_in_one_line(flow: Flow, tmp_path: Path, entry: Any) -> None:
    flow.save(tmp_path)
    redescribe(tmp_path, encoder=entry)
    with pytest.raises(CheckpointError) as caught:
        Flow.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_encoder_to_other_latents_is_refused(flow: Flow) -> None:
    parts = (flow.model, flow.prior, flow.coupling, flow.path, flow.condition)
    with pytest.raises(InputError, match=r"expected an encoder to latents \[2, 2, 2\], got 'vae'"):
        Flow(*parts, encoder=flow.encoder, picture_shape=torch.Size([3, 16, 8]))
    with pytest.raises(InputError, match="got one of the two"):
        Flow(*parts, encoder=flow.encoder)


def test_weights_of_diffusers_stay_in_their_folder(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    small = {"block_out_channels": [4, 4], "norm_num_groups": 2, "latent_channels": 2}
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    diffusers.AutoencoderKL(**small, **blocks).save_pretrained(tmp_path / "kl")
    spec = f"autoencoder-kl:path={tmp_path / 'kl'}"
    flow = train(pictures(), latent=spec, **PARTS, **SHORT)
    flow.save(tmp_path / "flow")
    assert not any(name.startswith("encoder.") for name in tensors_of(flow))
    assert description_of(tmp_path / "flow")["encoder"]["spec"] == spec
    both = (flow, Flow.load(tmp_path / "flow"))
    assert torch.equal(*(each.sample(LABELS, nfe=2, generator=seeded()) for each in both))
    diffusers.AutoencoderKL(**small, **blocks).save_pretrained(tmp_path / "kl")
    with pytest.raises(CheckpointError, match="has other weights than the flow was trained with"):
        Flow.load(tmp_path / "flow")
    (tmp_path / "kl" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no .*config\.json"):
        Flow.load(tmp_path / "flow")


# -- runs ---------------------------------------------------------------------------------------


def test_a_run_holds_its_latents_pictures_and_encoder(vae: VaeEncoder, tmp_path: Path) -> None:
    vae.save(tmp_path / "vae.safetensors")
    spec, run = f"vae:weights={tmp_path / 'vae.safetensors'}", tmp_path / "run"
    options = {**SHORT, "checkpoint_every": 2}
    flow = train(pictures(), latent=spec, out=run, **PARTS, **options)
    assert sorted(path.name for path in (run / "latents").iterdir()) == ["encoded.json", "latents.npy"]
    assert (run / "samples" / "step-000004.png").is_file()
    assert f'latent = "{spec}"' in (run / "config.toml").read_text()
    (tmp_path / "vae.safetensors").unlink()
    loaded = Flow.load(run)
    samples = [each.sample(LABELS, nfe=2, generator=seeded()) for each in (flow, loaded)]
    assert torch.equal(*samples), "the flow needs the file no more"


def test_a_run_goes_on_in_its_latents(vae: VaeEncoder, tmp_path: Path) -> None:
    vae.save(tmp_path / "vae.safetensors")
    spec = f"vae:weights={tmp_path / 'vae.safetensors'}"
    options = {**SHORT, "checkpoint_every": 2}
    whole = train(pictures(), latent=spec, out=tmp_path / "run", **PARTS, **options)
    import shutil

    for name in ("flow", "checkpoints/step-000004"):
        shutil.rmtree(tmp_path / "run" / name)
    again = train(pictures(), latent=spec, out=tmp_path / "run", resume=True, **PARTS, **options)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with pytest.raises(OptionError, match="trained with another configuration"):
        train(pictures(), out=tmp_path / "run", resume=True, **PARTS, **options)


def test_a_run_that_was_stopped_while_it_encoded_starts_again(
    vae: VaeEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowprior.extensions.latents.data.MOST_AT_ONCE", 10)
    encode, blocks = VaeEncoder._encode, []

    def stopping(self: VaeEncoder, x: torch.Tensor) -> torch.Tensor:
        blocks.append(len(x))
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return encode(self, x)

    monkeypatch.setattr(VaeEncoder, "_encode", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(pictures(), latent=vae, out=tmp_path / "run", **PARTS, **SHORT)
    assert not (tmp_path / "run" / "config.toml").exists()
    flow = train(pictures(), latent=vae, out=tmp_path / "run", **PARTS, **SHORT)
    assert flow.state_shape == (2, 2, 2)
    assert blocks == [10] * 7, "two blocks, one that was stopped, and all four anew"


@pytest.mark.parametrize(("cache", "expected"), [(False, False), ("elsewhere", True)])
def test_the_cache_lies_elsewhere_or_nowhere(
    vae: VaeEncoder, tmp_path: Path, cache: str | bool, expected: bool
) -> None:
    place = tmp_path / cache if isinstance(cache, str) else cache
    train(pictures(), latent=vae, out=tmp_path / "run", cache=place, **PARTS, **SHORT)
    assert not (tmp_path / "run" / "latents").exists()
    assert (tmp_path / "elsewhere" / "encoded.json").is_file() is expected


def test_in_latents_the_model_auto_does_not_fold_the_grid(vae: VaeEncoder, tmp_path: Path) -> None:
    train(pictures(), latent=vae, out=tmp_path, prior="gaussian", coupling="condot", **SHORT)
    assert json.loads((tmp_path / "flow" / "flow.json").read_text())["model"] == "unet:patch=1"


def test_in_latents_both_flows_live_in_those_of_one_encoder(tmp_path: Path) -> None:
    own, other = small_vae(), small_vae(seed=1)
    train(pictures(), latent=own, out=tmp_path / "first", **PARTS, **SHORT)
    parts = {**PARTS, **SHORT, "coupling": f"reflow:flow={tmp_path / 'first'},pool=12,nfe=2,real=0.5"}
    second = train(pictures(), latent=own, **parts)
    assert second.sample(torch.arange(6) % 3, nfe=1).shape == (6, 3, 8, 8)
    with pytest.raises(CouplingError, match="expected latents of"):
        train(pictures(), latent=other, **parts)


# -- evaluation ---------------------------------------------------------------------------------


@FEW_REFERENCES
def test_evaluation_compares_pictures(flow: Flow) -> None:
    metrics = ["w2", "truncation", "curvature", "nll"]
    result = evaluate(flow, pictures(), nfe=[0, 2], samples=12, metrics=metrics, classifier=None)
    values = {row["metric"]: row["value"] for row in result.rows}
    assert values["w2_squared"] > 0
    assert values["global_error"] < 10
    assert values["transport_cost"] > 0
    assert not any(name.startswith("nll") for name in values)
    assert any("nll left out: it needs a flow of the data themselves" in note for note in result.notes)
    assert result.settings["encoder"].startswith("vae sha256 ")


@FEW_REFERENCES
def test_the_transport_cost_is_that_of_latents(flow: Flow, vae: VaeEncoder) -> None:
    result = evaluate(flow, pictures(), nfe=[1], samples=40, metrics=["w2"], classifier=None)
    (cost,) = (row["value"] for row in result.rows if row["metric"] == "transport_cost_unpaired")
    z = vae.encode(pictures().x)
    spread = z.flatten(1).var(0).sum().item()
    assert 0.5 * spread < cost < 4 * spread
