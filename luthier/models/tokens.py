"""Open a base model's tokenizer and limits without its weights, and for plain BERT folders without torch either."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.base.errors import ModelError
from luthier.models.catalogue import EMBEDDED, EMBEDDED_NAME, GENERATOR, Found, find, here

_BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
_UNLIMITED = 1_000_000
_ENCODER_LIMIT = 512


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer with the ``limit`` the model was built for (None where it has none) and ``max_tokens``, the one in force."""

    name: str
    tokenizer: Any
    max_tokens: int
    limit: int | None
    decodes: bool
    writes_from_encoder: bool = False

    @property
    def reads(self) -> str:
        """What reads a text: an encoder, a decoder, or the encoder of a seq2seq."""
        return "seq2seq" if self.writes_from_encoder else "decoder" if self.decodes else "encoder"


def open_tokens(base: str, *, folder: Path | None, revision: str | None, max_tokens: int | None) -> Tokens:
    """Open what turns text into ids for ``base``: a folder, the embedded model, or a hub model that is on this machine.

    Nothing is fetched and no weights are read. transformers takes seconds to import, so the commonest kind of folder
    is read by the tokenizers library itself; a test holds that the ids are the same.

    Raises:
        ModelError: as :func:`luthier.models.load.open_base`, and for a hub model that is not on this machine.
    """
    found = place(base, folder, revision)
    quick = _quick_bert(found, max_tokens)
    if quick is not None:
        return quick
    from luthier.models.load import _limit, open_base

    opened = open_base(found, max_tokens=max_tokens)
    return Tokens(
        found.name, opened.tokenizer, opened.max_tokens, _limit(opened.config, opened.tokenizer), opened.decodes,
        opened.writes_from_encoder,
    )  # fmt: skip


def place(base: str, folder: Path | None, revision: str | None) -> Found:
    """Return the model's folder without hashing its weights, which may be many gigabytes."""
    path = here(base, folder) if base != EMBEDDED else None
    if path is not None and (path / "config.json").is_file():
        return Found(path.name if Path(base).expanduser().is_absolute() else base, path, "")
    if path is not None or base in (EMBEDDED, EMBEDDED_NAME, GENERATOR):
        return find(base, folder=folder)  # opens what comes along, and says what is wrong with a folder
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Found(base, Path(snapshot_download(base, revision=revision, local_files_only=True)), "")
    except (LocalEntryNotFoundError, HFValidationError):
        raise ModelError(
            f'"{base}" is no folder, and no model of that name was fetched to this machine before',
            where="model.base",
            mend="Give a folder, `embedded`, or a hub name; a run fetches a hub model where there is a network.",
        ) from None


def _quick_bert(found: Found, max_tokens: int | None) -> Tokens | None:
    """Return the tokens of a BERT whose tokenizer.json says the same as its tokenizer_config.json; None of any other."""
    try:
        config, settings, core = (
            json.loads((found.folder / name).read_text(encoding="utf-8"))
            for name in ("config.json", "tokenizer_config.json", "tokenizer.json")
        )
        positions = config.get("max_position_embeddings")
        plain = config.get("model_type") == "bert" and not config.get("is_decoder") and isinstance(positions, int)
        if not plain or not _is_plain_bert(settings, core):
            return None
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return None  # what is wrong with it is told where transformers reads it
    own = settings.get("model_max_length")
    limit = min(positions, own) if isinstance(own, int) and 0 < own < _UNLIMITED else positions
    if max_tokens is not None and max_tokens > limit:
        return None
    tokenizer = QuickTokenizer(found.folder / "tokenizer.json")
    return Tokens(found.name, tokenizer, max_tokens or min(_ENCODER_LIMIT, limit), limit, False)


def _is_plain_bert(settings: dict[str, Any], core: dict[str, Any]) -> bool:
    """Whether the file holds just what transformers builds for a BertTokenizer from the vocabulary and these settings."""
    if settings.get("tokenizer_class") not in ("BertTokenizer", "BertTokenizerFast") or "chat_template" in settings:
        return False
    if any(settings.get(name, usual) != usual for name, usual in _BERT_TOKENS.items()):
        return False
    if (
        settings.get("added_tokens_decoder")
        or settings.get("extra_special_tokens")
        or settings.get("additional_special_tokens")
    ):
        return False
    normal = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": settings.get("tokenize_chinese_chars", True),
        "strip_accents": settings.get("strip_accents"),
        "lowercase": settings.get("do_lower_case", True),
    }
    model = core["model"]
    single = [next(iter(part.values()))["id"] for part in core["post_processor"]["single"]]
    return (
        core["normalizer"] == normal
        and core["pre_tokenizer"] == {"type": "BertPreTokenizer"}
        and model.get("type", "WordPiece") == "WordPiece"
        and (model["unk_token"], model["continuing_subword_prefix"], model["max_input_chars_per_word"])
        == ("[UNK]", "##", 100)
        and single == ["[CLS]", "A", "[SEP]"]
        and {token["content"] for token in core["added_tokens"]} == set(_BERT_TOKENS.values())
    )


class QuickTokenizer:
    """A tokenizer.json behind the few names that the renderer asks a transformers tokenizer for."""

    chat_template = None
    eos_token_id = bos_token_id = None

    def __init__(self, path: Path) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from tokenizers import Tokenizer

        self._core = Tokenizer.from_file(str(path))
        # Some folders keep the settings of their last training batch; a caller says what is cut.
        self._core.no_padding()
        self._core.no_truncation()
        self._cut_at: int | None = None
        self.all_special_ids = [i for i, token in self._core.get_added_tokens_decoder().items() if token.special]
        self.unk_token_id = self._core.token_to_id("[UNK]")
        self.pad_token_id = self._core.token_to_id("[PAD]")

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, truncation: bool = False, max_length: int | None = None
    ) -> dict[str, list[int]]:
        cut_at = max_length if truncation else None
        if cut_at != self._cut_at:
            self._core.no_truncation() if cut_at is None else self._core.enable_truncation(cut_at)
            self._cut_at = cut_at
        return {"input_ids": self._core.encode(text, add_special_tokens=add_special_tokens).ids}

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str | None]:
        return [self._core.id_to_token(i) for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return self._core.decode(list(ids), skip_special_tokens=False)

    def get_added_vocab(self) -> dict[str, int]:
        return {token.content: i for i, token in self._core.get_added_tokens_decoder().items()}
