"""What widgets show, as HTML in the colours of the notebook's own theme."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from springtide.jobs.looking import Look
from springtide.texts import Translate
from springtide.units import describe_duration

STYLE = """<style>
.springtide-jobs {width:100%; border-collapse:collapse; table-layout:fixed; color:var(--jp-ui-font-color1,inherit)}
.springtide-jobs th, .springtide-jobs td {text-align:left; padding:4px 8px; overflow:hidden; text-overflow:ellipsis;
 border-bottom:1px solid var(--jp-border-color2,#ccc); line-height:1.4; overflow-wrap:anywhere}
.springtide-jobs progress {width:100%}
.springtide-wrong {color:var(--jp-error-color1,#b00)}
.springtide-log {max-height:16em; overflow:auto; background:var(--jp-layout-color2,#eee);
 color:var(--jp-ui-font-color1,inherit); padding:8px; white-space:pre-wrap}
</style>"""
_COLUMNS = ("job", "application", "site", "state", "progress", "how")
_WIDTHS = ("14%", "20%", "10%", "11%", "16%", "29%")


def wrong(words: str) -> str:
    """Return what is wrong, as a screen reader says it at once."""
    style = "color:var(--jp-error-color1,#b00);line-height:1.4"
    return f'<div style="{style}" role="alert">{escape(words)}</div>' if words else ""


def hint(words: str) -> str:
    """Return what helps with something, less loud than the rest."""
    style = "color:var(--jp-ui-font-color2,inherit);line-height:1.4"
    return f'<div style="{style}">{escape(words)}</div>' if words else ""


def status(words: str) -> str:
    """Return what has happened, as a screen reader says it when it has nothing else to say."""
    return f'<div role="status">{escape(words)}</div>'


def table(looks: Sequence[Look], text: Translate) -> str:
    """Return jobs as a table."""
    if not looks:
        return f"<p>{escape(text('widgets.none'))}</p>"
    heads = zip(_COLUMNS, _WIDTHS, strict=True)
    head = "".join(
        f'<th scope="col" style="width:{width}">{escape(text(f"jobs.head_{key}"))}</th>' for key, width in heads
    )
    rows = "".join(_row(look, text) for look in looks)
    return f'{STYLE}<table class="springtide-jobs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _row(look: Look, text: Translate) -> str:
    state = escape(text(f"cli.state_{look.view.state}"))
    cells = [
        escape(look.run.token),
        escape(look.run.application.rpartition("/")[2]),
        escape(look.run.site),
        f'<span class="springtide-wrong">{state}</span>' if failed(look) else state,
        progress(look, text),
        escape(look.view.explanation),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def failed(look: Look) -> bool:
    """Whether a job is over and did not succeed."""
    return look.view.over and (look.view.exit_status != 0 or look.view.cause not in ("", "exit"))


def progress(look: Look, text: Translate) -> str:
    """Return a bar and how long the job may still take; empty where its program has not said."""
    done = look.run.progress
    if done is None:
        return ""
    left = look.time_left_s
    words = [f"{done:.0%}", look.run.progress_words]
    words += [text("jobs.time_left", duration=describe_duration(left))] if left and not look.view.over else []
    said = escape(", ".join(filter(None, words)))
    return f'<progress max="1" value="{done:.3f}" aria-label="{said}"></progress><br>{said}'


def log_tail(log: str, lines: int = 30) -> str:
    """Return the end of a log."""
    end = "\n".join(log.rstrip().splitlines()[-lines:])
    return f'<pre class="springtide-log" tabindex="0">{escape(end)}</pre>'
