"""Bars of the check page: drawn as SVG that stretches, with its words in HTML, so that they stay readable at any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.evaluate.report.html import Html, tag

SIDES = ("train", "valid", "test")
_HIGH = 100.0


def split_bar(counts: Mapping[str, float], largest: float) -> Html:
    """Return one bar of three parts, as long as its share of the largest; its numbers stand beside it in the table."""
    at, parts = 0.0, []
    for side in SIDES:
        width = 100 * counts.get(side, 0) / largest if largest else 0
        if width:
            parts.append(tag("rect", x=f"{at:.2f}", y="0", width=f"{width:.2f}", height="10", class_=side))
        at += width
    return _stretched(parts, height=10, class_="bar")


def share_bar(share: float) -> Html:
    """Return one bar from 0 to 1."""
    return _stretched(
        [tag("rect", x="0", y="0", width=f"{100 * share:.2f}", height="10", class_="train")], height=10, class_="bar"
    )


def columns_chart(
    counts: Sequence[float], *, ticks: Sequence[tuple[float, str]], words: str, mark: tuple[float, str] | None = None
) -> Html:
    """Return upright bars over an axis.

    Args:
        ticks: where along the axis (0 to 1) which word stands.
        words: what the picture says, for those who do not see it; also its caption.
        mark: a line across, such as a limit: where it stands (0 to 1), and its word.
    """
    largest = max(counts, default=0) or 1
    width = 100 / max(1, len(counts))
    bars = [
        # A bar of one row among thousands must still be seen.
        tag("rect", x=f"{i * width + width * 0.06:.3f}", y=f"{_HIGH - high:.2f}", width=f"{width * 0.88:.3f}", height=f"{high:.2f}", class_="train")
        for i, count in enumerate(counts)
        if count and (high := max(1.5, _HIGH * count / largest))
    ]  # fmt: skip
    line = None
    if mark is not None:
        x = f"{100 * mark[0]:.2f}"
        bars.append(
            tag("line", x1=x, x2=x, y1="0", y2=f"{_HIGH:.0f}", class_="limit", vector_effect="non-scaling-stroke")
        )
        line = tag("span", mark[1], class_="limit-word", style=_place(mark[0]))
    axis = [tag("span", word, style=_place(at)) for at, word in ticks]
    most = tag("span", f"{largest:,.0f}", class_="most", aria_hidden="true")
    return tag(
        "figure",
        tag("div", most, line, _stretched(bars, height=_HIGH, class_="upright", label=words), class_="plotted"),
        tag("div", axis, class_="axis", aria_hidden="true"),
        tag("figcaption", words),
        class_="columns-chart",
    )


def _place(at: float) -> str:
    # Words at the edges lean inwards, so that none is cut or pushes the page sideways.
    lean = 0 if at < 0.08 else -100 if at > 0.92 else -50
    return f"left:{100 * at:.2f}%;transform:translateX({lean}%)"


def _stretched(parts: Sequence[Html], *, height: float, class_: str, label: str | None = None) -> Html:
    facts = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return tag("svg", parts, viewBox=f"0 0 100 {height:g}", preserveAspectRatio="none", class_=class_, **facts)
