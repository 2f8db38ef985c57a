"""The text tower of CLIP (Radford et al. 2021), through transformers, from a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowprior.encoders.base import Encoder
from flowprior.encoders.folder import LOCAL, FolderTextEncoder
from flowprior.errors import InputError

KEPT = ("text_model.", "text_projection.")
FORMER_END = 2
"""End token of CLIP configurations before transformers 4.30, which then goes by the highest token."""


@Encoder.register("clip")
class ClipTextEncoder(FolderTextEncoder):
    """CLIP's text tower from a local folder: the projected embedding that pictures are compared with.

    Embeddings are not normalised; token states are those after the last normalisation.

    Args:
        path: folder of a CLIP model, or of its text tower with projection.
        tokenizer: folder of the tokenizer, where it lies elsewhere.

    Raises:
        DataNotFoundError: a folder without model, weights or tokenizer.
        OptionError: transformers is not installed.
        InputError: no CLIP model with a projection, or a tokenizer that is not its own.
    """

    def __init__(self, path: str, tokenizer: str | None = None) -> None:
        self.path = str(path)
        self.tokenizer = tokenizer
        folder = Path(self.path).expanduser()
        super().__init__(folder, Path(tokenizer).expanduser() if tokenizer else folder)

    @property
    def size(self) -> int:
        """Numbers E of a text's embedding."""
        return int(self._network.config.projection_dim)

    def _recipe(self) -> str:
        return "projected"

    def _read_network(self) -> nn.Module:
        from safetensors.torch import load_file
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        stored = {name: tensor for file in self._weights for name, tensor in load_file(file).items()}
        tensors = {name: tensor for name, tensor in stored.items() if name.startswith(KEPT)}
        if "text_projection.weight" not in tensors:
            raise InputError(
                f"encoder 'clip': {self._folder} holds no CLIP model with a text projection; take "
                f"hugging-face:path={self._folder},pooling=pooler"
            )
        config = CLIPTextConfig.from_pretrained(self._folder, **LOCAL)
        config.projection_dim = len(tensors["text_projection.weight"])
        self._check_end_token(config)
        network = CLIPTextModelWithProjection(config)
        missing = network.load_state_dict(tensors, strict=False).missing_keys
        if missing:
            raise InputError(
                f"encoder 'clip': the weights in {self._folder} lack {missing[0]}; they do not fit its "
                "config.json"
            )
        return network

    def _check_end_token(self, config: Any) -> None:
        """The state at the end token is what is pooled, so model and tokenizer have to agree on it."""
        own, end = self._tokenizer.eos_token_id, config.eos_token_id
        if end not in (own, FORMER_END):
            raise InputError(
                f"encoder 'clip': the tokenizer in {self._tokenizer_folder} ends a text with token {own}, "
                f"the model in {self._folder} expects {end}; pass the model's own"
            )

    def _pool(self, output: Any, mask: Tensor) -> Tensor:
        return output.text_embeds
