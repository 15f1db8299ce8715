"""HateCheck divided by templates and by functions: some functions are learnt, and all are tested on templates that were not."""

from __future__ import annotations

import csv
from pathlib import Path

from luthier.base.seeds import stable_fraction

# Tested and never learnt: other ways to say or not to say it than those of the train rows.
HELD_OUT = frozenset({
    "threat_norm_h", "slur_reclaimed_nh", "ref_subs_clause_h", "ref_subs_sent_h", "negate_pos_h", "negate_neg_nh",
    "phrase_question_h", "phrase_opinion_h", "ident_pos_nh", "counter_quote_nh", "counter_ref_nh", "target_group_nh",
    "spell_char_swap_h", "spell_char_del_h", "spell_space_del_h", "spell_space_add_h", "spell_leet_h",
})  # fmt: skip
_TESTED = 0.35
COLUMNS = ("text", "label", "function", "held_out", "target", "template")


def write(data: Path, out: Path) -> list[Path]:
    """Write train.csv (functions that are learnt), test.csv (the same functions) and cases.csv (all functions).

    A template and all that refer to it are one family, and a family is on one side only: a sentence with its letters
    swapped is never tested where the sentence was learnt.
    """
    with (data / "hatecheck" / "test_suite_cases.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    family = _families(rows)
    sides: dict[str, list[dict[str, str]]] = {"train": [], "test": [], "cases": []}
    for row in rows:
        root = family[row["templ_id"]]
        held = row["functionality"] in HELD_OUT
        kept = {
            "text": row["test_case"].strip(), "label": row["label_gold"], "function": row["functionality"],
            "held_out": "yes" if held else "no", "target": row["target_ident"], "template": root,
        }  # fmt: skip
        tested = stable_fraction(root, seed=0) < _TESTED
        for side, wanted in (("train", not tested and not held), ("test", tested and not held), ("cases", tested)):
            if wanted:
                sides[side].append(kept)
    return [_write(out / f"{side}.csv", kept) for side, kept in sides.items()]


def _families(rows: list[dict[str, str]]) -> dict[str, str]:
    """Return for each template the root of those that refer to each other."""
    above = {row["templ_id"]: row["templ_id"] for row in rows}

    def root(name: str) -> str:
        while above[name] != name:
            name = above[name]
        return name

    for row in rows:
        other = row["ref_templ_id"].removesuffix(".0")
        if other:
            above.setdefault(other, other)
            above[root(row["templ_id"])] = root(other)
    return {name: root(name) for name in above}


def _write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path
