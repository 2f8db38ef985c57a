"""HubFlow: how a flow goes to the Hugging Face Hub and comes from there, by the names that users know."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Self

import torch
from torch import nn

from flowprior.errors import OptionError
from flowprior.flow.card import Evaluation, add_evaluation, digest_of
from flowprior.flow.files import save_flow
from flowprior.flow.hub import MESSAGE, is_folder, pull_flow, push_folder
from flowprior.flow.parts import FlowParts
from flowprior.flow.reading import load_flow


class HubFlow(FlowParts):
    """A flow that can be pushed to the Hub and read from there; see :class:`flowprior.Flow`."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        evaluation: Evaluation | None = None,
        revision: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str = MESSAGE,
        allow_training_data: bool = False,
    ) -> str:
        """Push the flow to the Hugging Face Hub (extra ``hub``) with a model card; the URL of the commit.

        Args:
            repo_id: ``user/name``; made where there is none.
            evaluation: a :class:`~flowprior.evaluation.Result` of this flow, for the card.
            revision, private, token, message: see :func:`flowprior.flow.hub.push_folder`.
            allow_training_data: pushes a flow whose prior holds training data (``flow.prior.kept_data``).

        Raises:
            OptionError: huggingface_hub is not installed, or training data are held and not allowed.
            CheckpointError: the flow cannot be saved, or the Hub refuses or does not answer.
        """
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "flow"
            save_flow(self, folder)
            if evaluation is not None:
                add_evaluation(folder, evaluation, digest_of(folder))
            return push_folder(
                folder,
                repo_id,
                revision=revision,
                private=private,
                token=token,
                message=message,
                allow_training_data=allow_training_data,
            )

    @classmethod
    def from_pretrained(
        cls,
        repo_id_or_path: Path | str,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: Path | str | None = None,
        local_files_only: bool = False,
        model: nn.Module | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Read a flow from the Hugging Face Hub (extra ``hub``), or from a folder as ``Flow.load`` does.

        Only ``flow.json`` and its ``.safetensors`` are downloaded: nothing is unpickled, and no code is run.

        Args:
            repo_id_or_path: ``user/name``; a folder of that name is taken before the Hub is asked.
            revision: branch, tag or commit on the Hub.
            token: of Hugging Face, for private flows; None takes that of ``hf auth login`` or ``HF_TOKEN``.
            cache_dir: where downloads are kept; None takes the Hub's cache.
            local_files_only: take what was downloaded before.
            model, device: as of ``Flow.load``.

        Raises:
            OptionError: a revision of a folder, or huggingface_hub is not installed.
            CheckpointError: no such flow, or files that ``Flow.load`` refuses.
        """
        if is_folder(repo_id_or_path):
            if revision is not None:
                raise OptionError(
                    f"Flow.from_pretrained: {repo_id_or_path} is a folder, which has no revision "
                    f"'{revision}'; leave it out"
                )
            return load_flow(cls, Path(repo_id_or_path).expanduser(), model).to(device)
        where = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        return load_flow(cls, pull_flow(str(repo_id_or_path), revision=revision, **where), model).to(device)
