"""How a cluster is doing, for people: as text, and as HTML for notebooks."""

from __future__ import annotations

import html
from collections.abc import Sequence

from springtide.cluster.book import Book, PoolPage
from springtide.texts import translator


def text_of(book: Book, cost: float, decision: Sequence[str], language: str = "en") -> str:
    """Return pools, reasons, cost and last decision as lines of text."""
    text = translator(language)
    lines = []
    for name, (planned, there, joined) in book.count().items():
        line = text("cluster.pool", pool=name, planned=planned, there=there, joined=joined)
        why = _why(book, name)
        lines.append(f"{line} {why}".strip())
    lines.append(_cost(book, cost, language))
    return "\n".join([*lines, *decision])


def html_of(book: Book, cost: float, decision: Sequence[str], *, adaptive: bool, language: str = "en") -> str:
    """Return the same as a table; whatever a queue or cloud said stands there as plain text."""
    text = translator(language)
    head = "".join(
        f"<th style='text-align:left'>{html.escape(text(f'cluster.{key}'))}</th>"
        for key in ("head_pool", "head_planned", "head_there", "head_joined", "head_words")
    )
    rows = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
        for cells in ((name, *numbers, _why(book, name)) for name, numbers in book.count().items())
    )
    mode = text("cluster.adaptive" if adaptive else "cluster.manual")
    said = "".join(f"<div>{html.escape(line)}</div>" for line in (mode, _cost(book, cost, language), *decision))
    return f"<table><tr>{head}</tr>{rows}</table>{said}"


def _cost(book: Book, cost: float, language: str) -> str:
    text = translator(language)
    if book.budget is None:
        return text("cluster.cost", cost=f"{cost:.2f}")
    return text("cluster.cost_budget", cost=f"{cost:.2f}", committed=f"{book.committed:.2f}", budget=f"{book.budget:g}")


def _why(book: Book, pool: str) -> str:
    """Return why workers are not there yet, in the words of their queue or cloud, each once."""
    page: PoolPage = book.pools[pool]
    waiting = (slot for slot in book.wanted(pool) if not slot.joined)
    said = [page.outage, page.words, *(slot.words or (slot.body.reason if slot.body else "") for slot in waiting)]
    return "; ".join(dict.fromkeys(words for words in said if words))
