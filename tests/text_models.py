"""Tiny text models, random and built from local configurations, saved as users have theirs: as folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.storage.digests import file_sha256

WORDS = ("a", "sleepy", "happy", "cat", "dog", "red", "blue", "of", "in", "the", "##s", "!")
BERT_LIMIT, CLIP_LIMIT = 16, 40
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
CAPTIONS = ("a sleepy cat", "", "the happy dogs in a red cat of the blue dog", "!", "a 猫")


def transformers() -> Any:
    """The library, or no test."""
    return pytest.importorskip("transformers", reason="the test extra is not installed")


def save_bert(folder: Path, seed: int = 0, **sizes: int) -> Path:
    """A BERT of 32 numbers with its tokenizer; at most 16 tokens."""
    library = transformers()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "猫"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    _say(folder, "BertTokenizer", BERT_LIMIT)
    config = library.BertConfig(
        **{**SIZES, **sizes}, vocab_size=len(words), max_position_embeddings=BERT_LIMIT
    )
    return _save(library.BertModel, config, folder, seed)


def save_clip(folder: Path, seed: int = 0, whole: bool = False, projected: bool = True) -> Path:
    """A CLIP text tower of 32 numbers, projected to 24, with its tokenizer; or the whole CLIP."""
    library = transformers()
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokens = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        "ca",
        "cat</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    # "cat" is one token, other words are letters.
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    _say(folder, "CLIPTokenizer", CLIP_LIMIT, pad_token="<|endoftext|>")
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    text = {**SIZES, **ends, "vocab_size": len(tokens), "max_position_embeddings": CLIP_LIMIT}
    if whole:
        vision = {**SIZES, "image_size": 16, "patch_size": 8}
        config = library.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
        return _save(library.CLIPModel, config, folder, seed)
    config = library.CLIPTextConfig(**text, projection_dim=24)
    return _save(
        library.CLIPTextModelWithProjection if projected else library.CLIPTextModel, config, folder, seed
    )


def clip_spec(folder: Path) -> str:
    """The features of the CLIP in a folder, with the digest of its weights."""
    return f"clip:path={folder},sha256='{file_sha256(folder / 'model.safetensors')}'"


def _say(folder: Path, tokenizer: str, limit: int, **more: str) -> None:
    values = {"tokenizer_class": tokenizer, "model_max_length": limit, **more}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))


def _save(kind: Any, config: Any, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        kind(config).save_pretrained(folder)
    return folder
