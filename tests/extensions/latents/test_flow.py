"""A flow in latents: trained, sampled as pictures, saved with its encoder, evaluated on pictures."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior import Flow, evaluate, train
from flowprior.errors import CheckpointError, CouplingError, InputError, OptionError
from flowprior.extensions.latents.vae import VaeEncoder
from flowprior.flow.description import tensors_of
from flowprior.training import read_metrics
from tests.diffusers_models import save_kl
from tests.expected_warnings import FEW_REFERENCES
from tests.extensions.conftest import refused
from tests.extensions.latents.pictures import pictures
from tests.flow_folder import description_of, redescribe

SHORT: dict[str, Any] = {"steps": 4, "batch_size": 8, "warmup": 1, "sample_every": 2, "device": "cpu"}
PARTS: dict[str, Any] = {"prior": "gmm", "coupling": "condot", "model": "mlp:width=16,depth=1"}
LABELS = torch.arange(6) % 3


@pytest.fixture(scope="module")
def flow(vae: VaeEncoder) -> Flow:
    return train(pictures(), latent=vae, **PARTS, **SHORT)


def drawn(flow: Flow, **options: Any) -> torch.Tensor:
    return flow.sample(LABELS, **{"nfe": 2, **options}, generator=torch.Generator().manual_seed(0))


def test_samples_are_pictures_and_latents_on_request(flow: Flow, vae: VaeEncoder) -> None:
    assert (flow.event_shape, flow.state_shape) == ((3, 8, 8), (2, 2, 2))
    for nfe in (0, 2):
        latents = drawn(flow, nfe=nfe, decode=False)
        assert latents.shape == (6, 2, 2, 2)
        assert torch.equal(drawn(flow, nfe=nfe), vae.decode(latents))


def test_batches_and_trajectories_are_decoded_too(flow: Flow) -> None:
    whole, parts = (
        flow.solve(
            LABELS, nfe=2, generator=torch.Generator().manual_seed(0), trajectory=True, batch_size=size
        )
        for size in (None, 4)
    )
    assert whole.trajectory is not None
    assert whole.trajectory.shape == (3, 6, 3, 8, 8)
    torch.testing.assert_close(parts.trajectory, whole.trajectory)
    torch.testing.assert_close(whole.trajectory[-1], whole.x)


def test_prior_and_likelihood_are_those_of_latents(flow: Flow, vae: VaeEncoder) -> None:
    x = pictures().x
    z = vae.encode(x)
    torch.testing.assert_close(flow.prior.mean(torch.tensor([1]))[0], z[1::3].mean(0), atol=1e-4, rtol=0)
    assert torch.equal(flow.encode(x), z)
    assert flow.log_prob(z[:2], LABELS[:2], divergence="hutchinson").shape == (2,)
    with refused(r"expected x of shape \[B, 2, 2, 2\].*give it flow\.encode\(x\)", InputError):
        flow.log_prob(x[:2], LABELS[:2])


def test_events_are_held_out_before_they_are_encoded(vae: VaeEncoder, tmp_path: Path) -> None:
    """What is learned of cached latents is what is of those in memory, and ``identity`` is the pixels."""
    losses, flows = {}, {}
    for name, latent in {"cached": vae, "memory": vae, "identity": "identity", "none": "none"}.items():
        options = {"validation": 12, "out": tmp_path / name, "cache": False if name == "memory" else None}
        flows[name] = train(pictures(), latent=latent, **PARTS, **SHORT, **options)
        lines = read_metrics(tmp_path / name / "metrics.jsonl")
        losses[name] = [line for line in lines if "validation" in line["kind"]]
    assert len(losses["none"]) == 1
    assert losses["cached"] == losses["memory"]
    assert losses["identity"] == losses["none"]
    assert torch.equal(drawn(flows["identity"]), drawn(flows["none"]))
    assert (tmp_path / "cached" / "latents" / "validation" / "latents.npy").is_file()
    assert not (tmp_path / "memory" / "latents").exists()


def test_a_run_that_holds_events_out_can_be_replaced(vae: VaeEncoder, tmp_path: Path) -> None:
    options = {"validation": 12, "out": tmp_path / "run", **PARTS, **SHORT}
    train(pictures(), latent=vae, cache=tmp_path / "elsewhere", **options)
    assert not (tmp_path / "run" / "latents").exists()
    small = (tmp_path / "elsewhere" / "validation" / "latents.npy").read_bytes()
    train(pictures(), latent=vae, overwrite=True, **options)
    held = tmp_path / "run" / "latents" / "validation" / "latents.npy"
    assert held.read_bytes() == small
    train(pictures(), latent="identity", overwrite=True, **options)
    assert len(held.read_bytes()) > len(small)


# -- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_own_weights_lie_with_the_flow(flow: Flow, tmp_path: Path, dtype: torch.dtype) -> None:
    flow = copy.deepcopy(flow).to(dtype)
    flow.save(tmp_path / "flow")
    loaded = Flow.load(tmp_path / "flow")
    assert loaded.encoder is not None
    assert flow.encoder is not None
    assert loaded.encoder.identity() == flow.encoder.identity()
    assert torch.equal(drawn(loaded), drawn(flow))
    assert drawn(loaded).dtype == dtype
    loaded.save(tmp_path / "again")
    for path in (tmp_path / "flow").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_a_flow_without_an_encoder_is_written_as_before(tmp_path: Path, flow: Flow) -> None:
    train(pictures(), **PARTS, **SHORT).save(tmp_path / "plain")
    flow.save(tmp_path / "latent")
    plain, latent = (description_of(tmp_path / name) for name in ("plain", "latent"))
    assert (plain["format"], "encoder" in plain) == (3, False)
    assert (latent["format"], latent["event_shape"]) == (4, [2, 2, 2])
    assert latent["encoder"]["event_shape"] == [3, 8, 8]


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
    with refused(".", CheckpointError):
        Flow.load(redescribe(tmp_path, encoder=entry))


def test_an_encoder_to_other_latents_is_refused(flow: Flow) -> None:
    parts = (flow.model, flow.prior, flow.coupling, flow.path, flow.condition)
    with pytest.raises(InputError, match=r"expected an encoder to latents \[2, 2, 2\], got 'vae'"):
        Flow(*parts, encoder=flow.encoder, picture_shape=torch.Size([3, 16, 8]))
    with pytest.raises(InputError, match="got one of the two"):
        Flow(*parts, encoder=flow.encoder)


def test_weights_of_diffusers_stay_in_their_folder(tmp_path: Path) -> None:
    save_kl(tmp_path / "kl")
    spec = f"autoencoder-kl:path={tmp_path / 'kl'}"
    flow = train(pictures(), latent=spec, **PARTS, **SHORT)
    flow.save(tmp_path / "flow")
    assert not any(name.startswith("encoder.") for name in tensors_of(flow))
    assert description_of(tmp_path / "flow")["encoder"]["spec"] == spec
    assert torch.equal(drawn(flow), drawn(Flow.load(tmp_path / "flow")))
    save_kl(tmp_path / "kl", seed=1)
    with refused("has other weights than the flow was trained with", CheckpointError):
        Flow.load(tmp_path / "flow")
    (tmp_path / "kl" / "config.json").unlink()
    with refused(r"no .*config\.json", CheckpointError):
        Flow.load(tmp_path / "flow")


# -- runs ---------------------------------------------------------------------------------------


def test_a_run_holds_its_latents_pictures_and_encoder_and_goes_on(vae: VaeEncoder, tmp_path: Path) -> None:
    vae.save(tmp_path / "vae.safetensors")
    spec, run = f"vae:weights={tmp_path / 'vae.safetensors'}", tmp_path / "run"
    options = {**PARTS, **SHORT, "checkpoint_every": 2, "out": run}
    flow = train(pictures(), latent=spec, **options)
    assert sorted(path.name for path in (run / "latents").iterdir()) == ["encoded.json", "latents.npy"]
    assert (run / "samples" / "step-000004.png").is_file()
    assert f'latent = "{spec}"' in (run / "config.toml").read_text()
    for name in ("flow", "checkpoints/step-000004"):
        shutil.rmtree(run / name)
    train(pictures(), latent=spec, resume=True, **options)
    (tmp_path / "vae.safetensors").unlink()
    again = Flow.load(run)
    assert torch.equal(drawn(again), drawn(flow)), "the flow needs the file no more"
    for name, tensor in flow.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    with pytest.raises(OptionError, match="trained with another configuration"):
        train(pictures(), resume=True, **options)


def test_the_network_of_latents_does_not_fold_their_grid(vae: VaeEncoder, tmp_path: Path) -> None:
    train(pictures(), latent=vae, out=tmp_path, **{**PARTS, **SHORT, "model": "auto"})
    assert description_of(tmp_path / "flow")["model"] == "unet:patch=1"


def test_images_as_source_samples_are_no_latents_and_refused(vae: VaeEncoder) -> None:
    x, cond = pictures().x, pictures().cond
    with pytest.raises(CouplingError, match="expected source samples beside the data samples of"):
        train((x, cond, x), latent=vae, **{**PARTS, **SHORT, "coupling": "given"})


# -- evaluation ---------------------------------------------------------------------------------


@FEW_REFERENCES
def test_evaluation_compares_pictures_and_the_cost_is_that_of_latents(flow: Flow, vae: VaeEncoder) -> None:
    metrics = ["w2", "truncation", "curvature", "nll"]
    result = evaluate(flow, pictures(), nfe=[0, 2], samples=40, metrics=metrics, classifier=None)
    values = {row["metric"]: row["value"] for row in result.rows}
    spread = vae.encode(pictures().x).flatten(1).var(0).sum().item()
    assert 0.5 * spread < values["transport_cost_unpaired"] < 4 * spread
    assert values["w2_squared"] > 0
    assert values["global_error"] < 10
    assert not any(name.startswith("nll") for name in values)
    assert any("nll left out: it needs a flow of the data themselves" in note for note in result.notes)
    assert result.settings["encoder"].startswith("vae sha256 ")
