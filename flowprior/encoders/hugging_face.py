"""Any text model of the transformers library that lies in a local folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowprior.encoders.base import Encoder
from flowprior.encoders.folder import LOCAL, FolderTextEncoder, masked_mean
from flowprior.errors import InputError
from flowprior.registry import choose

POOLINGS = ("mean", "pooler")


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
        self.path = str(path)
        self.pooling = choose("encoder 'hugging-face'", "pooling", pooling, POOLINGS)
        self.normalise = normalise
        self.tokenizer = tokenizer
        folder = Path(self.path).expanduser()
        super().__init__(folder, Path(tokenizer).expanduser() if tokenizer else folder)

    @property
    def size(self) -> int:
        """Numbers E of a text's embedding."""
        return self.token_size

    def _recipe(self) -> str:
        return self.pooling + (", normalised" if self.normalise else "")

    def _read_network(self) -> nn.Module:
        return read_model(self._folder, f"encoder '{self.name}'", pooler=self.pooling == "pooler")

    def _pool(self, output: Any, mask: Tensor) -> Tensor:
        pooled = (
            masked_mean(output.last_hidden_state, mask) if self.pooling == "mean" else self._pooler(output)
        )
        return nn.functional.normalize(pooled, dim=1) if self.normalise else pooled

    def _pooler(self, output: Any) -> Tensor:
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise InputError(f"encoder '{self.name}': {self.path} has no pooler; take pooling=mean")
        return pooled


def read_model(folder: Path, owner: str, pooler: bool) -> nn.Module:
    """The text model of transformers in ``folder``; every weight that counts is its own.

    Args:
        folder: of the model.
        owner: for messages.
        pooler: whether the weights of its pooler count.

    Raises:
        InputError: the folder lacks weights, or holds no text model.
    """
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoConfig, AutoModel, AutoModelForTextEncoding

    config = AutoConfig.from_pretrained(folder, **LOCAL)
    known = type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING  # such as T5's encoder without its decoder
    network, report = (AutoModelForTextEncoding if known else AutoModel).from_pretrained(
        folder, use_safetensors=True, output_loading_info=True, **LOCAL
    )
    missing = [key for key in sorted(report["missing_keys"]) if pooler or not key.startswith("pooler.")]
    if missing:
        raise InputError(
            f"{owner}: the weights in {folder} lack {missing[0]}; they do not fit its config.json"
        )
    if config.is_encoder_decoder and not known:
        network = network.get_encoder()
    if not hasattr(network.config, "hidden_size") or hasattr(network, "vision_model"):
        raise InputError(
            f"{owner}: {folder} holds a {type(network).__name__}, which is no text model; for CLIP take "
            f"clip:path={folder}"
        )
    return network
