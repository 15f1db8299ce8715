"""The generator's recipe: text is cut without loss, items keep to one side, the tokenizer gives back what it was given."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from recipes.luthier_base import corpus, reading, start, telling


def test_pieces_are_short_and_lose_nothing() -> None:
    paragraphs = ["One two three. " * 40, "short", "no-mark" * 200, "Is it? Yes! It is; so it is. " * 20]
    found = list(corpus.pieces(paragraphs, 300))
    assert all(len(piece) <= 300 + len(found) for piece in found)
    plain = "".join("".join(paragraphs).split())
    assert "".join("".join(found).split()) == plain


def test_templates_of_one_item_have_one_number() -> None:
    article = "The council said on Monday that the bridge will be closed for repairs until the end of March."
    asked = [f"Summarise:\n{article}\nTL;DR", f"{article}\n\nWrite a headline.", f"What is this about?\n  {article}  "]
    assert len({corpus.item_of(text) for text in asked}) == 1
    assert corpus.item_of(asked[0]) != corpus.item_of("Summarise:\n" + article.replace("bridge", "tunnel"))


TEXTS = [
    "Mr. Hall came in at noon. He shook the rain from his coat. \"Is the letter here?\" he asked. Nobody had seen any letter at all.",
    "Salt is found in many foods. Too much of it makes you thirsty. Most canned foods contain large amounts of salt. Read the label.",
]


def test_answers_stand_in_the_question_or_were_left_out_of_it() -> None:
    rows = list(reading.asked_about((False, {"text": TEXTS[i % 2], "source": "x"}) for i in range(400)))
    assert 150 < len(rows) < 250
    left_out = 0
    for _, row in rows:
        [asked], answer = row["messages"], row["answer"]
        gap = "[...]" in asked["content"]
        left_out += gap
        assert (answer in asked["content"]) is not gap
        assert any(answer in text for text in TEXTS)
    assert 0.3 < left_out / len(rows) < 0.7


def test_a_title_ends_no_sentence() -> None:
    assert reading.sentences(TEXTS[0])[0] == "Mr. Hall came in at noon."
    assert len(reading.sentences(TEXTS[0])) == 4


def test_the_principal_sentence_shares_most_words_with_the_others() -> None:
    said = ["Salt is found in many foods.", "It makes you thirsty.", "Most foods that make people thirsty contain salt.", "Read the label."]
    assert reading.principal(said) == 2


def test_what_is_repeated_is_what_was_said() -> None:
    rng = random.Random(0)
    rows = [reading.repeats(rng, ["pear", "lamp", "blue", "seven"], TEXTS) for _ in range(50)]
    for row in rows:
        [asked] = row["messages"]
        assert set(row["answer"].split("\n")) == {asked["content"]}
    assert len({row["messages"][0]["content"] for row in rows}) > 30


def _turn(speaker: str, said: str, *actions: tuple[str, str, list[str]], state: dict[str, object] | None = None) -> dict[str, object]:
    frame = {"actions": [dict(zip(("act", "slot", "values"), action, strict=True)) for action in actions]}
    return {"speaker": speaker, "utterance": said, "frames": [{**frame, "state": state} if state else frame]}


def _table(seats: str, dish: str = "Thai") -> list[dict[str, object]]:
    looking = {"active_intent": "FindRestaurants", "slot_values": {"city": ["Bath"], "cuisine": [dish]}}
    booking = {"active_intent": "ReserveRestaurant", "slot_values": {"restaurant_name": ["Rice"], "party_size": [seats], "date": ["today"]}}
    return [
        _turn("USER", "Food in Bath?", state={"active_intent": "FindRestaurants", "slot_values": {"city": ["Bath"]}}),
        _turn("SYSTEM", "Rice is nice.", ("OFFER", "city", ["Bath"]), ("OFFER", "restaurant_name", ["Rice"])),
        _turn("USER", f"It must be {dish}.", ("REQUEST", "street_address", []), state=looking),
        _turn("USER", "Fine, a table.", ("SELECT", "", []), state=booking),
        _turn("SYSTEM", "Booked.", ("NOTIFY_SUCCESS", "", [])),
    ]


def test_a_summary_tells_what_was_wanted_at_last_and_what_came_of_it() -> None:
    found = telling.events({"turns": _table("2")})
    assert [x for _, x in found] == [
        "find a restaurant with Thai food in Bath", "address", "book a table for 2 at Rice today", "Rice", "",
    ]  # fmt: skip
    assert next(x for _, x in telling.events({"turns": _table("2", "Greek")})) == "find a restaurant with Greek food in Bath"
    assert telling.wish("BuyBusTicket", {"origin": "Fresno", "group_size": "1", "departure_date": "next Friday"}) == "buy bus tickets from Fresno next Friday for 1"
    assert telling.wish("BuyEventTickets", {"number_of_tickets": "1"}) == "buy 1 ticket"


def test_who_speaks_is_who_is_told_of() -> None:
    rng, seen = random.Random(0), set()
    for _ in range(80):
        pair = telling.told({"turns": _table("4")}, rng)
        assert pair is not None
        asked, answer = pair
        turns = [line.split(": ")[0] for line in asked.split("\n") if line.endswith((".", "?")) and ": " in line]
        user, agent = turns[0], turns[1]
        seen.add(user)
        if user == "Customer":
            user, agent = "the customer", "the agent"
        names = {name for name in telling.NAMES if name in answer.split() or f"{name}'s" in answer}
        assert user in answer or user.capitalize() in answer
        assert names <= {user, agent}
    assert {"#Person1#", "Customer"} < seen
    assert len(seen) > 10
    assert telling.told({"turns": [_turn("USER", "Hello.")]}, rng) is None


def test_the_tokenizer_gives_back_what_it_was_given(tmp_path: Path) -> None:
    for name, row in (("text", {"text": "Café 12, “said” the naïve clerk. " * 30}), ("chat", {"messages": [{"role": "assistant", "content": "Yes, of course."}]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    tokenizer = start.tokenizer_of(tmp_path)
    for text in ("Café 2026: 日本 said “no”.\n\tEnd", "  two  spaces "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}], tokenize=False
    )
    assert said == "<|user|>Hi<|end|><|assistant|>Yes<|end|>"
    assert tokenizer("<|user|>Hi<|end|>")["input_ids"][-1] == tokenizer.eos_token_id


@pytest.mark.slow
def test_minilm_as_a_decoder_sees_nothing_to_come(tmp_path: Path) -> None:
    import torch

    for name, row in (("text", {"text": "the parcel is late again " * 30}), ("chat", {"messages": [{"role": "assistant", "content": "Yes."}]})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    tokenizer = start.tokenizer_of(tmp_path)
    network = start.from_minilm(tokenizer).eval()
    one, other = (torch.tensor([tokenizer(text)["input_ids"][:4]]) for text in ("the parcel is late", "the parcel was lost"))
    with torch.inference_mode():
        first, second = network(input_ids=one).logits, network(input_ids=other).logits
    same = int((one == other).long().cumprod(1).sum())
    assert 0 < same < one.shape[1]
    assert torch.allclose(first[:, :same], second[:, :same], atol=1e-5)
    assert not torch.allclose(first[:, same], second[:, same], atol=1e-3)
