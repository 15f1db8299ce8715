"""A masked language model that fills in words: what else could stand there, as it has read the language."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.base.errors import ModelError
from luthier.models import catalogue
from luthier.models.load import device, open_base, open_masked

# Below the first ten come words that fit the grammar and nothing else.
TOP = 10
_PASS_TOKENS = 4096
_KEY = "data.augment.masked_model"
# Word starts in byte-level BPE and in SentencePiece.
_STARTS = ("Ġ", "▁")


class MaskedModel:
    """A masked language model with its own output layer."""

    def __init__(self, base: str, *, folder: Path | None = None) -> None:
        """Open it.

        Raises:
            ModelError: no such model, no mask token, or no output layer for masked words.
        """
        if base == catalogue.EMBEDDED:
            raise ModelError(
                "the embedded model reads sentences and has no output for masked words",
                where=_KEY,
                mend="Name a masked language model such as bert-base-multilingual-cased, or its folder.",
            )
        found = catalogue.find(base, folder=folder)
        self.base = open_base(found)
        self.tokenizer: Any = self.base.tokenizer
        if self.tokenizer.mask_token_id is None:
            raise ModelError(f"{found.name} has no mask token", where=_KEY, mend="Name a masked language model.")
        self._network: Any = open_masked(self.base, where=_KEY).to(device()).eval()
        self._words, self._characters = self._allowed()

    def fill(
        self, texts: Sequence[str], spans: Sequence[Sequence[tuple[int, int]]], *, seeds: Sequence[int], top: int = TOP
    ) -> list[str | None]:
        """Replace the words at ``spans`` (start, end; in order) by others that the model thinks likely there.

        All words of a text are masked at once; each is drawn from the model's ``top`` likeliest whole words that are not
        the word itself, by their probability. What lies beyond the model's limit stays.

        Returns:
            None for a text in which nothing could be replaced.
        """
        masked = [self._masked(text, parts) for text, parts in zip(texts, spans, strict=True)]
        encoded = self.tokenizer([m or "" for m in masked], truncation=True, max_length=self.base.max_tokens)[
            "input_ids"
        ]
        order = sorted((i for i, m in enumerate(masked) if m is not None), key=lambda i: len(encoded[i]))
        result: list[str | None] = [None] * len(texts)
        at = 0
        while at < len(order):
            size = 1
            while at + size < len(order) and len(encoded[order[at + size]]) * (size + 1) <= _PASS_TOKENS:
                size += 1
            rows = order[at : at + size]
            for i, scores_MV in zip(rows, self._scores([encoded[i] for i in rows]), strict=True):
                result[i] = self._filled(texts[i], spans[i], scores_MV, seeds[i], top)
            at += size
        return result

    def _masked(self, text: str, spans: Sequence[tuple[int, int]]) -> str | None:
        # A mask token that the text itself holds could not be told from ours.
        if not spans or self.tokenizer.mask_token in text:
            return None
        parts, at = [], 0
        for start, end in spans:
            parts += [text[at:start], self.tokenizer.mask_token]
            at = end
        return "".join([*parts, text[at:]])

    @torch.inference_mode()
    def _scores(self, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return, for each row, (M, V) logits at its M masks."""
        longest = max(map(len, rows))
        ids_BT = torch.full((len(rows), longest), int(self.tokenizer.pad_token_id or 0), dtype=torch.long)
        mask_BT = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            ids_BT[i, : len(row)] = torch.tensor(row)
            mask_BT[i, : len(row)] = 1
        where = device()
        logits_BTV = self._network(input_ids=ids_BT.to(where), attention_mask=mask_BT.to(where)).logits
        asked_BT = (ids_BT == self.tokenizer.mask_token_id) & mask_BT.bool()
        return [logits_BTV[i][asked_BT[i].to(where)].float().cpu() for i in range(len(rows))]

    def _filled(
        self, text: str, spans: Sequence[tuple[int, int]], scores_MV: torch.Tensor, seed: int, top: int
    ) -> str | None:
        rng = np.random.default_rng(seed)
        parts, at, changed = [], 0, False
        # Masks cut off at the end have no scores: their words stay.
        for (start, end), scores_V in zip(spans, scores_MV, strict=False):
            word = text[start:end]
            new = self._draw(word, scores_V, rng, top)
            parts += [text[at:start], new or word]
            changed |= new is not None
            at = end
        return "".join([*parts, text[at:]]) if changed else None

    def _draw(self, word: str, scores_V: torch.Tensor, rng: np.random.Generator, top: int) -> str | None:
        allowed = self._characters if len(word) == 1 and not word.isascii() else self._words
        if not allowed.numel():
            return None
        scores = scores_V[allowed]
        # One more than asked for, because the word itself is often the likeliest and is left out.
        values, places = scores.topk(min(top + 1, len(scores)))
        names = self.tokenizer.convert_ids_to_tokens(allowed[places].tolist())
        options = [(n, float(v)) for n, v in zip(map(self._bare, names), values, strict=True)]
        options = [(n, v) for n, v in options if n.casefold() != word.casefold()][:top]
        if not options:
            return None
        chances = np.exp(np.array([v for _, v in options]) - max(v for _, v in options))
        new = options[int(rng.choice(len(options), p=chances / chances.sum()))][0]
        return new.capitalize() if word[0].isupper() and word[1:].islower() else new

    def _bare(self, token: str) -> str:
        return token[1:] if token.startswith(_STARTS) else token

    def _allowed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids of tokens that are whole words, and of those that are one character outside ASCII."""
        tokens: dict[str, int] = self.tokenizer.get_vocab()
        special = set(self.tokenizer.all_special_ids)
        marked = any(token.startswith(_STARTS) and len(token) > 1 for token in tokens)
        words, characters = [], []
        for token, number in tokens.items():
            bare = self._bare(token)
            if number in special or not bare.isalpha():
                continue
            if len(bare) == 1 and not bare.isascii():
                characters.append(number)
            # Byte-level vocabularies write letters beyond ASCII as bytes, which only look like letters.
            elif (token != bare and (not token.startswith("Ġ") or bare.isascii())) if marked else True:
                words.append(number)
        return torch.tensor(sorted(words), dtype=torch.long), torch.tensor(sorted(characters), dtype=torch.long)
