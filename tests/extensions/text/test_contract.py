"""One contract over every registered text encoder that can be had here, at tiny size."""

from __future__ import annotations

import inspect
import re
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from flowprior.errors import FlowpriorError, InputError, OptionError
from flowprior.models import Encoder, TextEncoder
from flowprior.registry.registry import spec_of
from tests.text_models import CAPTIONS

LONG = "a sleepy cat " * 800


@pytest.fixture(scope="module", params=["hugging-face", "hugging-face:pooling=pooler", "clip", "minilm"])
def encoder(request: pytest.FixtureRequest, bert: Path, clip: Path) -> TextEncoder:
    """Each one, by a spec that names its folder."""
    name, _, options = request.param.partition(":")
    folder = {"hugging-face": bert, "clip": clip}.get(name)
    parts = ([f"path={folder}"] if folder else []) + ([options] if options else [])
    try:
        return Encoder.registry.resolve(":".join([name, ",".join(parts)]) if parts else name)
    except OptionError as error:
        if name != "minilm":
            raise
        pytest.skip(str(error))


def test_the_family_holds_what_the_design_names() -> None:
    assert {"minilm", "clip", "hugging-face"} <= set(Encoder.available())


@pytest.mark.parametrize("name", Encoder.available())
def test_an_encoder_describes_itself_and_its_options(name: str) -> None:
    record = Encoder.record(name)
    assert 20 <= len(record.description) <= 110
    assert record.description.endswith(".")
    documented = inspect.getdoc(record.factory) or ""
    for option in record.options:
        assert re.search(rf"^\s*{option}: \S", documented, re.MULTILINE), f"{option} is not documented"
    with pytest.raises(OptionError, match=f"'{name}' has no option 'nonsense'"):
        Encoder.create(name, nonsense=1)


def test_shapes_types_and_sizes(encoder: TextEncoder) -> None:
    encoding = encoder.encode(CAPTIONS)
    count, longest = encoding.mask.shape
    assert count == len(CAPTIONS)
    assert encoding.pooled.shape == (count, encoder.size)
    assert encoding.tokens.shape == (count, longest, encoder.token_size)
    assert encoding.pooled.dtype == encoding.tokens.dtype == torch.float32
    assert encoding.mask.dtype == torch.bool
    assert not encoding.pooled.requires_grad
    assert encoding.pooled.isfinite().all()
    assert encoding.mask.any(1).all(), "the empty caption too has a token to attend to"
    assert (encoding.mask.sum(1).max() == longest).all()
    assert not encoding.tokens[~encoding.mask].any()


def test_padding_never_counts(encoder: TextEncoder) -> None:
    """A batch of different lengths is what its texts are one by one."""
    together = encoder.encode(CAPTIONS)
    for row, caption in enumerate(CAPTIONS):
        alone = encoder.encode([caption])
        torch.testing.assert_close(alone.pooled[0], together.pooled[row], rtol=1e-4, atol=1e-5)
        real = together.mask[row]
        assert int(real.sum()) == alone.mask.shape[1]
        torch.testing.assert_close(alone.tokens[0], together.tokens[row][real], rtol=1e-4, atol=1e-5)


def test_batches_are_joined(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoder.encode(CAPTIONS)
    monkeypatch.setattr(type(encoder), "batch", 2)
    parts = encoder.encode(CAPTIONS)
    assert torch.equal(parts.mask, whole.mask)
    torch.testing.assert_close(parts.pooled, whole.pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.tokens, whole.tokens, rtol=1e-4, atol=1e-5)


def test_captions_are_told_apart_and_the_empty_one_is_a_caption(encoder: TextEncoder) -> None:
    first, empty, *_ = encoder.encode(CAPTIONS).pooled
    assert (first - empty).norm() > 1e-3
    assert empty.norm() > 0


def test_no_texts(encoder: TextEncoder) -> None:
    encoding = encoder.encode([])
    assert encoding.pooled.shape == (0, encoder.size)
    assert encoding.tokens.shape == (0, 0, encoder.token_size)
    assert encoding.mask.shape == (0, 0)


def test_long_texts_are_cut_with_one_warning(encoder: TextEncoder) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encoding = encoder.encode([LONG, "a cat", LONG + "!"])
    limit = encoding.mask.shape[1]
    (warning,) = caught
    assert f"2 of 3 texts have more than the {limit} tokens" in str(warning.message)
    assert "begins 'a sleepy cat" in str(warning.message)
    assert "\n" not in str(warning.message)
    assert encoding.pooled.isfinite().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode(["a cat"])


def test_the_identity_names_the_weights(encoder: TextEncoder) -> None:
    assert re.fullmatch(rf"{encoder.name} .*sha256 [0-9a-f]{{64}}", encoder.identity())
    assert encoder.identity() == encoder.identity()


def test_the_spec_rebuilds_it(encoder: TextEncoder) -> None:
    again = Encoder.registry.resolve(spec_of(Encoder.registry, encoder))
    assert again.identity() == encoder.identity()
    assert torch.equal(again.encode(["a cat"]).pooled, encoder.encode(["a cat"]).pooled)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ("a cat", r"expected a list of texts, got one text; write \[text\]"),
        (5, "expected a list of texts, got int"),
        (["a", None], "expected texts, got NoneType at index 1"),
        (["a", "\ud800"], "the text at index 1 is not valid Unicode"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(encoder: TextEncoder, texts: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        encoder.encode(texts)


def test_no_network_is_asked_and_the_random_state_is_left_alone(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = torch.get_rng_state()
    Encoder.registry.resolve(spec_of(Encoder.registry, encoder)).encode(["a cat"])
    assert torch.equal(torch.get_rng_state(), before)


def test_reading_is_silent(encoder: TextEncoder, capfd: pytest.CaptureFixture[str]) -> None:
    Encoder.registry.resolve(spec_of(Encoder.registry, encoder)).encode(["a cat"])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("name", ["hugging-face", "clip"])
def test_a_folder_that_is_no_model_is_one_line(name: str, bert: Path, tmp_path: Path) -> None:
    with pytest.raises(FlowpriorError, match=rf"no {tmp_path}/config\.json; pass the folder") as caught:
        Encoder.create(name, path=str(tmp_path))
    assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FlowpriorError, match=r"no weights \*\.safetensors"):
        Encoder.create(name, path=str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(FlowpriorError, match="no tokenizer in"):
        Encoder.create(name, path=str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("{}")
    broken = Encoder.create(name, path=str(tmp_path))
    with pytest.raises(FlowpriorError, match="cannot be read as a text model") as caught:
        broken.encode(["a cat"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["hugging-face", "clip"])
def test_a_folder_with_a_file_without_an_end_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_text("{}")
    (tmp_path / "tokenizer.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"tokenizer\.json cannot be read \(it is no regular file\)"):
        Encoder.create(name, path=str(tmp_path))
