"""A flow goes to the Hub and comes back; cards that users edited stay, and only safe files travel."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
import torch

import flowprior
from flowprior import Coupling, Flow, Prior
from flowprior.conditions import Condition
from flowprior.errors import CheckpointError, OptionError
from flowprior.evaluation.result import Result, table_row
from flowprior.extensions.hub.repository import from_pretrained, push_folder, push_to_hub
from flowprior.models import build_model
from tests.extensions.conftest import refused
from tests.flow.test_wording import small_flow

huggingface_hub = pytest.importorskip("huggingface_hub", reason="the test extra is not installed")
NAME = "me/points"
TERMS = {"flow": "gmm + ot", "sampler": "euler", "nfe": 4, "guidance": 1.0, "split": "test"}
RESULT = Result([table_row("w2_squared", 0.25, **TERMS)], {}, {"data": "points", "seeds": [0]}, [])


class Hub:
    """A stand-in for what the Hub's client does, on dictionaries: commits of files, and branches.

    Attributes:
        commits: the files of each commit.
        branches: the newest commit of each branch of each repository.
        asked: the files that were downloaded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[tuple[str, str], str] = {}
        self.asked: list[str] = []

    def files(self, repo_id: str = NAME, revision: str | None = None) -> dict[str, bytes]:
        return self.commits[self.branches.get((repo_id, revision or "main"), str(revision))]

    def commit(self, files: dict[str, bytes], repo_id: str = NAME, revision: str | None = None) -> str:
        number = self.branches[repo_id, revision or "main"] = f"commit-{len(self.commits)}"
        self.commits[number] = files
        return number

    def create_repo(self, repo_id: str, **_: Any) -> None:
        if (repo_id, "main") not in self.branches:
            self.commit({}, repo_id)

    def create_branch(self, repo_id: str, *, branch: str, **_: Any) -> None:
        self.branches.setdefault((repo_id, branch), self.branches[repo_id, "main"])

    def file_exists(self, repo_id: str, filename: str, *, revision: str | None) -> bool:
        return filename in self.files(repo_id, revision)

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, revision: str | None, delete_patterns: list[str], **_: Any
    ) -> Any:
        before = self.files(repo_id, revision).items()
        kept = {name: data for name, data in before if not any(fnmatch(name, p) for p in delete_patterns)}
        new = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        number = self.commit(kept | new, repo_id, revision)
        return huggingface_hub.CommitInfo(f"https://huggingface.co/{repo_id}/commit/{number}", "", "", number)

    def hf_hub_download(self, repo_id: str, filename: str, *, revision: str | None = None, **_: Any) -> str:
        self.asked.append(filename)
        number = self.branches.get((repo_id, revision or "main"), str(revision))
        (self.folder / number).mkdir(parents=True, exist_ok=True)
        (self.folder / number / filename).write_bytes(self.commits[number][filename])
        return str(self.folder / number / filename)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """The stand-in behind the client's own signatures."""
    held, client = Hub(tmp_path / "downloads"), create_autospec(huggingface_hub.HfApi)
    for name in ("create_repo", "create_branch", "file_exists", "upload_folder", "hf_hub_download"):
        getattr(client.return_value, name).side_effect = getattr(held, name)
    monkeypatch.setattr(huggingface_hub, "HfApi", client)
    return held


def flow_of(seed: int = 0) -> Flow:
    torch.manual_seed(seed)
    return small_flow(metadata={"data": {"name": "points", "examples": 30}, "step": 7})


def drawn(flow: Flow) -> torch.Tensor:
    return flow.sample(torch.tensor([0, 1, 2]), nfe=2, generator=torch.Generator().manual_seed(0))


def card(hub: Hub, revision: str | None = None) -> str:
    return hub.files(NAME, revision)["README.md"].decode()


def test_a_flow_comes_back_as_it_went(hub: Hub) -> None:
    flow = flow_of()
    url = push_to_hub(flow, NAME)
    (weights,) = (name for name in hub.files() if name.endswith(".safetensors"))
    assert set(hub.files()) == {"flow.json", "README.md", weights}
    assert url.endswith(f"/{NAME}/commit/{hub.branches[NAME, 'main']}")
    again = from_pretrained(NAME)
    assert hub.asked == ["flow.json", weights]
    assert torch.equal(drawn(flow), drawn(again))
    assert repr(again.prior).startswith("GmmPrior(): prior 'gmm', fitted")


def test_the_options_of_a_repository_and_a_download_reach_the_client(hub: Hub) -> None:
    push_to_hub(flow_of(), NAME, private=True, token="secret")
    from_pretrained(NAME, local_files_only=True)
    client = huggingface_hub.HfApi
    assert [call.kwargs["token"] for call in client.call_args_list] == ["secret", None]
    client.return_value.create_repo.assert_called_once_with(NAME, private=True, exist_ok=True)
    downloads = client.return_value.hf_hub_download.call_args_list
    assert all(call.kwargs["local_files_only"] for call in downloads)


MINE = {"notes.txt": b"mine", "weights-ema.safetensors": b"mine", "weights/other.safetensors": b"mine"}


def test_another_flow_takes_the_place_of_the_first(hub: Hub) -> None:
    push_to_hub(flow_of(), NAME, evaluation=RESULT)
    assert "| `w2_squared` | 0.25 |" in card(hub)
    assert f'from_pretrained("{NAME}")' in card(hub)
    hub.commit({**hub.files(), **MINE})
    other = flow_of(seed=1)
    other.metadata["license"] = "mit"
    push_to_hub(other, NAME)
    after = hub.files()
    assert {name: after[name] for name in MINE} == MINE
    assert sum(name.endswith(".safetensors") for name in after.keys() - MINE) == 1, "the old weights are gone"
    assert huggingface_hub.ModelCard(card(hub)).data.to_dict()["license"] == "mit"
    assert "w2_squared" not in card(hub), "it is of other weights"
    assert torch.equal(drawn(from_pretrained(NAME)), drawn(other))


def test_a_saved_folder_is_pushed_with_its_card_and_stays_as_it_is(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    flow_of().save(folder)
    (folder / "secret.txt").write_text("no", encoding="utf-8")
    local = folder / "README.md"
    local.write_text(own := local.read_text("utf-8").replace("## Training", "By Ada.\n\n## Training"))
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    push_folder(folder, NAME)
    assert "secret.txt" not in hub.files()
    assert card(hub) == own, "a card that was edited at home"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("own", ["# My own\n", "ours\nWritten on the site.\n"])
def test_a_card_that_somebody_wrote_or_edited_on_the_hub_is_kept(hub: Hub, own: str) -> None:
    push_to_hub(flow_of(), NAME)
    kept = own.replace("ours", card(hub))
    hub.commit({**hub.files(), "README.md": kept.encode()})
    with pytest.warns(RuntimeWarning, match=r"is your own or was edited, and is kept"):
        push_to_hub(flow_of(seed=1), NAME)
    assert card(hub) == kept


def test_a_branch_has_a_flow_of_its_own(hub: Hub) -> None:
    first, second = flow_of(), flow_of(seed=1)
    push_to_hub(first, NAME)
    push_to_hub(second, NAME, revision="v2")
    assert f'from_pretrained("{NAME}", revision="v2")' in card(hub, "v2")
    for flow, revision in ((first, None), (second, "v2"), (second, hub.branches[NAME, "v2"])):
        assert torch.equal(drawn(from_pretrained(NAME, revision=revision)), drawn(flow))


def test_a_flow_that_holds_training_data_is_pushed_only_where_that_is_allowed(
    hub: Hub, tmp_path: Path
) -> None:
    prior, condition = Prior.create("kernel-mean"), Condition("embeddings", 4)
    prior.fit((torch.randn(30, 2), torch.randn(30, 4)))
    model = build_model("mlp:width=8", torch.Size([2]), condition)
    parts = (prior, Coupling.create("condot"), flowprior.Path.create("condot"), condition)
    flow = Flow(model, *parts, model_spec="mlp:width=8")
    flow.save(tmp_path / "flow")
    for push in (partial(push_to_hub, flow), partial(push_folder, tmp_path / "flow")):
        with refused(r"kernel-mean' holds training data \(30 training conditions, ", OptionError):
            push(NAME)
        assert not hub.branches
        push(NAME, allow_training_data=True)
        assert "30 training conditions" in card(hub)
        hub.branches.clear()


def test_what_is_not_there_is_said_in_one_line(hub: Hub) -> None:
    push_to_hub(flow_of(), NAME)
    hub.commit({}, "me/empty")
    for repo_id, revision in (("me/nobody", None), (NAME, "v9"), ("me/empty", None)):
        with refused(r"from_pretrained: '.*': .*; check the name, the token", CheckpointError):
            from_pretrained(repo_id, revision=revision)


def test_a_description_that_names_another_file_is_refused(hub: Hub) -> None:
    push_to_hub(flow_of(), NAME)
    description = json.loads(hub.files()["flow.json"])
    description["files"]["weights"]["name"] = "../../evil.pkl"
    hub.commit({**hub.files(), "flow.json": json.dumps(description).encode()})
    hub.asked.clear()
    with pytest.raises(CheckpointError):
        from_pretrained(NAME)
    assert hub.asked == ["flow.json"]


def test_without_the_hubs_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with refused(r"pip install huggingface_hub$", OptionError):
        from_pretrained(NAME)
