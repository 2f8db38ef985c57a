"""The upload and download of flows on the Hugging Face Hub: files and model card, nothing pickled.

``flow.json`` says which file of weights belongs to it, by name and digest; these two are what is read back.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from flowprior.errors import CheckpointError, FlowpriorError, OptionError, pip_install
from flowprior.extensions.hub.card import (
    CARD,
    add_evaluation,
    read_card,
    sealed,
    unsealed,
    write_card,
)
from flowprior.flow import Flow
from flowprior.flow.description import DESCRIPTION, bindings_of, digest_of, read_description
from flowprior.flow.files import load_flow, load_prior_of, save_flow
from flowprior.registry.plugins import package_version
from flowprior.storage.user_paths import expanded
from flowprior.storage.writing import one_line, write_text

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from flowprior.evaluation import Result

WEIGHTS = f"weights-{'[0-9a-f]' * 16}.safetensors"
"""The pattern of the files of tensors that a flow binds."""
MESSAGE = "A flow of flowprior"
"""The message of commits on the Hub."""


def push_to_hub(
    flow: Flow,
    repo_id: str,
    *,
    evaluation: Result | None = None,
    revision: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    allow_training_data: bool = False,
) -> str:
    """Push a flow to the Hugging Face Hub (extra ``hub``) with a model card; return the commit's URL.

    Args:
        flow: the flow to push.
        repo_id: ``user/name``; made where there is none.
        evaluation: a :class:`~flowprior.evaluation.Result` of this flow, for the card.
        revision, private, token: see :func:`flowprior.extensions.hub.push_folder`.
        allow_training_data: pushes a flow whose prior holds training data (``flow.prior.kept_data``).

    Raises:
        OptionError: huggingface_hub is not installed, or training data are held and not allowed.
        CheckpointError: the flow cannot be saved, or the Hub refuses or does not answer.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "flow"
        save_flow(flow, folder)
        if evaluation is not None:
            add_evaluation(folder, evaluation, digest_of(folder))
        return push_folder(
            folder,
            repo_id,
            revision=revision,
            private=private,
            token=token,
            allow_training_data=allow_training_data,
        )


def from_pretrained(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
    model: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> Flow:
    """Read a flow from the Hugging Face Hub (extra ``hub``).

    Only ``flow.json`` and its ``.safetensors`` are downloaded: nothing is unpickled, and no code is run.

    Args:
        repo_id: ``user/name``.
        revision: branch, tag or commit on the Hub.
        token: a token of Hugging Face, for private flows; None takes that of ``hf auth login`` or of
            ``HF_TOKEN``.
        local_files_only: take what was downloaded before, from the Hub's cache (``HF_HUB_CACHE``).
        model, device: as of ``Flow.load``.

    Raises:
        OptionError: huggingface_hub is not installed.
        CheckpointError: no such flow, or files that ``Flow.load`` refuses.
    """
    download = partial(_api(token).hf_hub_download, repo_id, local_files_only=local_files_only)
    with _explaining(f"from_pretrained: '{repo_id}'"):
        folder = Path(download(DESCRIPTION, revision=revision)).parent
        download(bindings_of(read_description(folder))["weights"].name, revision=folder.name)  # same commit
    return load_flow(Flow, folder, model).to(device)


def push_folder(
    folder: Path | str,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    allow_training_data: bool = False,
) -> str:
    """Push a saved flow, such as ``RUN/flow``, with the card that lies beside it, in one commit.

    The repository is made where there is none. Weights of a flow that was there before are removed from the
    branch; a card that people have edited is kept, on the Hub and in ``folder``.

    Args:
        folder: a saved flow.
        repo_id: ``user/name``.
        revision: branch, made where there is none; None for the main one.
        private: True for a private new repository; None for the account's default.
        token: a token of Hugging Face; None takes that of ``hf auth login`` or ``HF_TOKEN``.
        allow_training_data: pushes a flow whose prior holds training data, too.

    Returns:
        URL of the commit.

    Raises:
        OptionError: huggingface_hub is not installed, or the prior holds training data and nothing allows it.
        CheckpointError: ``folder`` is no saved flow, or the Hub refuses or does not answer.
    """
    folder = expanded(folder)
    api, description = _api(token), read_description(folder)
    kept = "" if allow_training_data else load_prior_of(folder).kept_data
    if kept:
        raise OptionError(
            f"push_to_hub: the prior '{description['prior']}' holds training data ({kept}), which "
            "everybody could read; take another prior, or pass allow_training_data=True if they may be public"
        )
    names = [DESCRIPTION, bindings_of(description)["weights"].name]
    with tempfile.TemporaryDirectory() as place, _explaining(f"push_to_hub: '{repo_id}'"):
        copy = Path(place)
        for name in [*names, CARD] if (folder / CARD).is_file() else names:
            shutil.copyfile(folder / name, copy / name)
        if not (copy / CARD).exists():  # of an older version, which wrote none
            write_card(copy, description)
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        _write_card(api, copy, repo_id, revision)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=copy,
            revision=revision,
            commit_message=MESSAGE,
            delete_patterns=[WEIGHTS],
        )
    return commit.commit_url


def _write_card(api: HfApi, copy: Path, repo_id: str, revision: str | None) -> None:
    """Add to the card of ``copy`` how the flow is loaded; an edited card on the Hub is kept."""
    text = unsealed(read_card(copy / CARD))
    if text is None:  # a user's own, which is pushed as it is
        return
    known = api.file_exists(repo_id, CARD, revision=revision)
    if known and unsealed(read_card(api.hf_hub_download(repo_id, CARD, revision=revision))) is None:
        warnings.warn(
            f"the card of '{repo_id}' is your own or was edited, and is kept; remove it there for a new one",
            RuntimeWarning,
            stacklevel=4,
        )
        (copy / CARD).unlink()
        return
    at = "" if revision is None else f', revision="{revision}"'
    lines = [
        f"{text}\n## From the Hub\n\n```py",
        "from flowprior.extensions.hub import from_pretrained\n",
        f'flow = from_pretrained("{repo_id}"{at})\n```\n',
        f"`{pip_install('hub')}` brings what it needs.\n",
    ]
    write_text(copy / CARD, sealed("\n".join(lines)))


def _api(token: str | None) -> HfApi:
    """Return the Hub's client.

    Raises:
        OptionError: it is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        raise OptionError(
            f"flow: the Hub needs huggingface_hub, which is not installed; {pip_install('hub')}"
        ) from error
    return HfApi(
        token=token,
        library_name="flowprior",
        library_version=package_version(),
    )


@contextmanager
def _explaining(owner: str) -> Iterator[None]:
    """Turn every error of the Hub's client into an error of one line.

    Raises:
        CheckpointError: what it said, and what to do.
    """
    try:
        yield
    except FlowpriorError:
        raise
    except Exception as error:  # of httpx, of the file system, of the client's own checks and of the server's
        raise CheckpointError(
            f"{owner}: {type(error).__name__}: {one_line(error)}; check the name, the token (hf auth login) "
            "and the network"
        ) from error
