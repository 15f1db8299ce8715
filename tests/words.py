"""A few sentences that tiny tokenizers are trained on."""

from __future__ import annotations

SENTENCES = [
    "the parcel has not arrived and nobody answers the phone",
    "i was charged twice for the same order please refund one",
    "my password does not work and the reset mail never comes",
    "the lamp will not pair with the app after the update",
    "where is my parcel", "refund me now", "cannot log in", "the app crashes when i open it",
    "Janet has 3 ducks and buys 4 more. How many ducks? 3 + 4 = 7", "What colour is the sky? It is blue.",
]  # fmt: skip
