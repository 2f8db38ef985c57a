"""A flow goes to the Hub and comes back; cards that users edited stay, and only safe files travel."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

import flowprior
from flowprior import Coupling, Flow, Prior
from flowprior.conditions import Condition
from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation.result import Result, table_row
from flowprior.extensions.hub import from_pretrained, pull_flow, push_folder, push_to_hub
from flowprior.models import build_model
from tests.extensions.hub.server import TOKEN, Hub, hub
from tests.flow.test_wording import small_flow

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the test extra is not installed")
# huggingface_hub uploads files so.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning")
NAME = "me/points"
SETTINGS = {"data": "points", "seeds": [0]}
TERMS = {"flow": "gmm + ot", "sampler": "euler", "nfe": 4, "guidance": 1.0, "split": "test"}
RESULT = Result([table_row("w2_squared", 0.25, **TERMS)], {}, SETTINGS, [])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The stand-in, where ``HF_ENDPOINT`` says; large files by LFS, for which it needs no Xet."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def flow_of(seed: int = 0) -> Flow:
    torch.manual_seed(seed)
    return small_flow(metadata={"data": {"name": "points", "examples": 30}, "step": 7})


def drawn(flow: Flow) -> torch.Tensor:
    return flow.sample(torch.tensor([0, 1, 2]), nfe=2, generator=torch.Generator().manual_seed(0))


def card(server: Hub, revision: str = "main") -> str:
    return server.files(NAME, revision)["README.md"].decode()


def test_a_flow_comes_back_as_it_went(server: Hub, tmp_path: Path) -> None:
    flow = flow_of()
    url = push_to_hub(flow, NAME)
    files = server.files(NAME)
    (weights,) = (name for name in files if name.endswith(".safetensors"))
    assert set(files) == {"flow.json", "README.md", ".gitattributes", weights}
    assert not any(request.startswith("GET") and "README" in request for request in server.requests)
    server.requests.clear()
    again = from_pretrained(NAME, cache_dir=tmp_path / "kept")
    asked = {path for path in (request.split(" ")[1] for request in server.requests) if "/resolve/" in path}
    assert f"/{NAME}/resolve/{server.repositories[NAME].branches['main']}/{weights}" in asked, "of one commit"
    assert {path.rsplit("/", 1)[1] for path in asked} == {"flow.json", weights}
    assert url.startswith(f"{server.url}/{NAME}/commit/")
    assert isinstance(again, Flow)
    assert torch.equal(drawn(flow), drawn(again))
    assert repr(again.prior).startswith("GmmPrior(): prior 'gmm', fitted")
    server.repositories.clear()
    kept = from_pretrained(NAME, cache_dir=tmp_path / "kept", local_files_only=True)
    assert torch.equal(drawn(flow), drawn(kept))


def test_the_card_has_a_head_the_training_and_how_to_load(server: Hub) -> None:
    push_to_hub(flow_of(), NAME, evaluation=RESULT)
    found = huggingface_hub.ModelCard(card(server))
    head = found.data.to_dict()
    assert head["library_name"] == "flowprior"
    assert "flow-matching" in head["tags"]
    assert head["datasets"] == ["points"]
    assert head["metrics"] == ["w2_squared"]
    assert f'from_pretrained("{NAME}")' in found.text
    assert "| `w2_squared` | 0.25 |" in found.text


MINE = {"notes.txt": b"mine", "weights-ema.safetensors": b"mine", "weights/other.safetensors": b"mine"}


def test_another_flow_takes_the_place_of_the_first(server: Hub) -> None:
    push_to_hub(flow_of(), NAME, evaluation=RESULT)
    before = server.files(NAME)
    server.repositories[NAME].commit("main", {**before, **MINE})
    other = flow_of(seed=1)
    other.metadata["license"] = "mit"
    push_to_hub(other, NAME)
    after = server.files(NAME)
    assert {name: after[name] for name in MINE} == MINE
    assert sum(name.endswith(".safetensors") for name in after.keys() - MINE) == 1, "the old weights are gone"
    assert after.keys() != before.keys()
    head = huggingface_hub.ModelCard(card(server)).data.to_dict()
    assert ("metrics" in head, head["license"]) == (False, "mit")
    assert "w2_squared" not in card(server), "it is of other weights"
    assert torch.equal(drawn(from_pretrained(NAME)), drawn(other))


def test_a_saved_folder_is_pushed_with_its_card_and_stays_as_it_is(server: Hub, tmp_path: Path) -> None:
    flow_of().save(tmp_path / "flow")
    (tmp_path / "flow" / "secret.txt").write_text("no", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in (tmp_path / "flow").iterdir() if path.is_file()}
    push_folder(tmp_path / "flow", NAME)
    stored = dict(server.objects)
    assert "secret.txt" not in server.files(NAME)
    after = {path.name: path.read_bytes() for path in (tmp_path / "flow").iterdir() if path.is_file()}
    assert after == before
    local = tmp_path / "flow" / "README.md"
    local.write_text(own := local.read_text("utf-8").replace("## Training", "By Ada.\n\n## Training"))
    push_folder(tmp_path / "flow", NAME)
    assert card(server) == own, "a card that was edited at home"
    assert server.objects == stored, "the weights that were there are kept"


@pytest.mark.parametrize("own", ["# My own\n", "ours\nWritten on the site.\n"])
def test_a_card_that_somebody_wrote_or_edited_on_the_hub_is_kept(server: Hub, own: str) -> None:
    push_to_hub(flow_of(), NAME)
    kept = own.replace("ours", card(server))
    server.repositories[NAME].commit("main", {**server.files(NAME), "README.md": kept.encode()})
    with pytest.warns(RuntimeWarning, match=r"is your own or was edited, and is kept"):
        push_to_hub(flow_of(seed=1), NAME)
    assert card(server) == kept


def test_a_branch_has_a_flow_of_its_own(server: Hub) -> None:
    first, second = flow_of(), flow_of(seed=1)
    push_to_hub(first, NAME)
    push_to_hub(second, NAME, revision="v2")
    assert torch.equal(drawn(from_pretrained(NAME)), drawn(first))
    assert torch.equal(drawn(from_pretrained(NAME, revision="v2")), drawn(second))
    assert f'from_pretrained("{NAME}", revision="v2")' in card(server, "v2")
    commit = server.repositories[NAME].branches["v2"]
    assert torch.equal(drawn(from_pretrained(NAME, revision=commit)), drawn(second))


def test_a_flow_that_holds_training_data_is_pushed_only_where_that_is_allowed(
    server: Hub, tmp_path: Path
) -> None:
    x, cond = torch.randn(30, 2), torch.randn(30, 4)
    prior, condition = Prior.create("kernel-mean").fit((x, cond)), Condition("embeddings", 4)
    model = build_model("mlp:width=8", torch.Size([2]), condition)
    parts = (prior, Coupling.create("condot"), flowprior.Path.create("condot"), condition)
    flow = Flow(model, *parts, model_spec="mlp:width=8")
    flow.save(tmp_path / "flow")
    for push in (partial(push_to_hub, flow), partial(push_folder, tmp_path / "flow")):
        with pytest.raises(
            OptionError, match=r"kernel-mean' holds training data \(30 training conditions, .*"
        ):
            push(NAME)
        assert NAME not in server.repositories
        push(NAME, allow_training_data=True)
        assert "30 training conditions" in card(server)
        del server.repositories[NAME]


def test_a_private_flow_needs_the_token(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    push_to_hub(flow_of(), NAME, private=True)
    assert from_pretrained(NAME, token=TOKEN).state_shape == (2,)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CheckpointError, match=r"from_pretrained: 'me/points': .*check the name"):
        from_pretrained(NAME, cache_dir=tmp_path / "new")
    with pytest.raises(CheckpointError, match=r"push_to_hub: 'me/points'"):
        push_to_hub(flow_of(), NAME)


def test_what_is_not_there_is_said_in_one_line(server: Hub) -> None:
    push_to_hub(flow_of(), NAME)
    server.repositories["me/empty"] = type(server.repositories[NAME])(private=False)
    server.repositories["me/empty"].commit("main", {})
    for repo_id, revision in (("me/nobody", None), (NAME, "v9"), ("me/empty", None), ("a b", None)):
        with pytest.raises(CheckpointError, match=r"from_pretrained: ") as caught:
            from_pretrained(repo_id, revision=revision)
        assert "\n" not in str(caught.value)


def test_a_description_that_names_another_file_is_refused(server: Hub) -> None:
    push_to_hub(flow_of(), NAME)
    files = server.files(NAME)
    description = json.loads(files["flow.json"])
    description["files"]["weights"]["name"] = "../../evil.pkl"
    server.repositories[NAME].commit("main", {**files, "flow.json": json.dumps(description).encode()})
    with pytest.raises(CheckpointError):
        pull_flow(NAME)
    assert not any("evil" in request for request in server.requests)


def test_a_folder_is_read_as_load_reads_it(tmp_path: Path) -> None:
    flow = flow_of()
    flow.save(tmp_path / "flow")
    assert torch.equal(drawn(from_pretrained(tmp_path / "flow")), drawn(flow))
    assert torch.equal(drawn(from_pretrained(str(tmp_path / "flow"))), drawn(flow))
    with pytest.raises(OptionError, match="is a folder, which has no revision 'v2'"):
        from_pretrained(tmp_path / "flow", revision="v2")


def test_without_the_hubs_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OptionError, match=r"pip install huggingface_hub$"):
        from_pretrained(NAME)
