"""Recognise rows that put an item to a user or to a query."""

from __future__ import annotations

from luthier.data.shapes.guess_columns import Found, Shape, best_of

_USERS = ("user", "customer", "member", "reader", "visitor", "client", "account")
_ITEMS = (
    "item", "movie", "film", "product", "book", "song", "track", "artist", "recipe", "article", "passage", "document", "doc",
)  # fmt: skip
_WORTH = ("relevance", "rating", "score", "stars", "grade")
_WHEN = ("time", "timestamp", "date", "datetime", "when")
_LONG_WORDS = 4


def ranked(shapes: dict[str, Shape]) -> Found | None:
    """Return the columns of ``query, item[, relevance]`` or ``user, item[, relevance, time]``, where they are that."""
    there = list(shapes.values())
    item = best_of(there, _ITEMS)
    if item is None or item.filled < item.rows / 2:
        return None
    user = best_of((s for s in there if s is not item), _USERS)
    query = next((s for s in there if s.name.strip().lower() == "query" and s is not item), None)
    rest = [s for s in there if s not in (item, user, query)]
    worth, when = best_of(rest, _WORTH), best_of(rest, _WHEN)
    columns: dict[str, str | list[str]] = {"item": item.name}
    columns |= {what: s.name for what, s in (("relevance", worth), ("time", when)) if s is not None}
    if query is not None and query.words >= 1.5:
        reason = f'"{query.name}" and "{item.name}" are named like a query and what was found for it'
        return "rank", {"query": query.name, **columns}, [reason]
    # A user and a product may be the columns of a review: interactions have a worth or a time, and no text.
    long = any(s.is_text and s is not item and s.words >= _LONG_WORDS for s in there)
    if user is None or long or len(columns) < 2 or user.varied > 0.9:
        return None
    reason = f'"{user.name}" and "{item.name}" are named like a user and an item, and users have several rows'
    return "rank", {"user": user.name, **columns}, [reason]
