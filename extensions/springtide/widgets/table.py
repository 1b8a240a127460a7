"""A live table of one's jobs, a page at a time, with what can be done with one of them."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from springtide.errors import SpringtideError
from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from springtide.jobs.job import Job
from springtide.jobs.looking import Look
from springtide.jobs.remote import RemoteDesk
from springtide.texts import translator
from springtide.widgets import markup
from springtide.widgets.following import Follower
from springtide.widgets.form import Form

PAGE = 15
MOST = 2000


class JobsTable(ipywidgets.VBox):
    """The newest jobs of a desk's user; it keeps nothing that the ledger does not know."""

    def __init__(self, desk: Desk | RemoteDesk, language: str = "en") -> None:
        self.desk, self.language, self.text = desk, language, translator(language)
        self.looks: dict[str, Look] = {}
        self.page = 0
        self._wished = ""
        self._lock = threading.RLock()
        self._table, self._message, self._detail = (ipywidgets.HTML() for _ in range(3))
        self._place = ipywidgets.Label()
        self._form = ipywidgets.VBox()
        self._chosen = ipywidgets.Dropdown(description=self.text("jobs.head_job"))
        self._earlier = self._button("earlier", lambda: self._turn(-1))
        self._later = self._button("later", lambda: self._turn(1))
        self._cancel = self._button("cancel", lambda: self._do(self._cancel_job))
        self._again = self._button("again", lambda: self._do(self._again_job))
        self._change = self._button("change", lambda: self._do(self._show_form))
        self._log = self._button("log", lambda: self._do(self._show_log))
        self._outputs = self._button("outputs", lambda: self._do(self._show_outputs))
        self._plot = self._button("plot", lambda: self._do(self._show_plot))
        acts = [self._log, self._outputs, self._plot, self._cancel, self._again, self._change]
        wrap = ipywidgets.Layout(flex_flow="row wrap")
        super().__init__(
            [
                self._table,
                ipywidgets.HBox([self._earlier, self._place, self._later]),
                ipywidgets.HBox([self._chosen, *acts], layout=wrap),
                self._message,
                self._detail,
                self._form,
            ]
        )
        self._follower = Follower(desk, self.update, limit=MOST)

    def update(self, looks: list[Look], trouble: str = "") -> None:
        """Show what is new or has changed; called from the thread of jobs."""
        with self._lock:
            self.looks |= {look.run.token: look for look in looks}
            newest = sorted(self.looks.values(), key=lambda look: look.run.recorded, reverse=True)[:MOST]
            self.looks = {look.run.token: look for look in newest}
            self._message.value = markup.wrong(trouble)
            self._draw()

    def choose(self, token: str) -> None:
        """Show the first page, with this job chosen, as soon as it is known."""
        with self._lock:
            self.page, self._wished = 0, token
            self._draw()

    def close(self) -> None:
        """End it, and all that follows jobs for it."""
        self._close_form()
        if follower := getattr(self, "_follower", None):
            follower.close()
        super().close()

    def _draw(self) -> None:
        pages = max(1, -(-len(self.looks) // PAGE))
        self.page = min(max(0, self.page), pages - 1)
        shown = list(self.looks.values())[self.page * PAGE : (self.page + 1) * PAGE]
        self._table.value = markup.table(shown, self.text)
        self._place.value = self.text("widgets.page", page=self.page + 1, pages=pages, count=len(self.looks))
        self._earlier.disabled, self._later.disabled = self.page == 0, self.page == pages - 1
        options = tuple(look.run.token for look in shown)
        if options != self._chosen.options:
            before = self._chosen.value
            self._chosen.options = options
            self._chosen.value = before if before in options else next(iter(options), None)
        if self._wished in options:
            self._chosen.value, self._wished = self._wished, ""

    def _turn(self, by: int) -> None:
        with self._lock:
            self.page += by
            self._draw()

    def _button(self, key: str, act: Callable[[], None]) -> Any:
        button = ipywidgets.Button(description=self.text(f"widgets.{key}"), layout=ipywidgets.Layout(width="auto"))
        button.on_click(lambda _: act())
        return button

    def _do(self, act: Callable[[Job], Any]) -> None:
        if token := self._chosen.value:
            self._follower.start(self._told(token, act))

    async def _told(self, token: str, act: Callable[[Job], Any]) -> None:
        """Do something with a job; what goes wrong is said in the widget."""
        self._message.value = ""
        try:
            await act(self.desk.job_of(await self.desk.run(token)))
        except SpringtideError as error:
            self._message.value = markup.wrong(str(error))
        except Exception as error:  # a figure's own code may raise anything
            self._message.value = markup.wrong(f"{type(error).__name__}: {error}")

    async def _cancel_job(self, job: Job) -> None:
        await self.desk.cancel(await self.desk.run(job.token))

    async def _again_job(self, job: Job) -> None:
        run = await self.desk.submit_again(await self.desk.run(job.token), {}, Asked())
        self._message.value = markup.status(self.text("widgets.submitted", job=run.token))
        self.choose(run.token)

    async def _show_form(self, job: Job) -> None:
        """Show the form of the job's application, with what the job had."""
        run = await self.desk.run(job.token)
        offer = await asyncio.to_thread(self.desk.offer, run.application)
        form = await asyncio.to_thread(
            Form, self.desk, offer, self.language, before=run, submitted=lambda new: self.choose(new.token)
        )
        self._close_form()
        self._form.children = [form]

    def _close_form(self) -> None:
        for form in getattr(self, "_form", ipywidgets.VBox()).children:
            form.close()

    async def _show_log(self, job: Job) -> None:
        self._detail.value = markup.log_tail(await asyncio.to_thread(lambda: job.log))

    async def _show_outputs(self, job: Job) -> None:
        found = await asyncio.to_thread(lambda: job.outputs)
        files = "".join(f"<li>{escape(str(path))}</li>" for paths in found.values() for path in paths)
        self._detail.value = f"<ul>{files}</ul>" if files else f"<p>{escape(self.text('widgets.no_outputs'))}</p>"

    async def _show_plot(self, job: Job) -> None:
        def draw() -> str:
            file = io.BytesIO()
            job.plot().savefig(file, format="png", dpi=100, facecolor="white")
            return base64.b64encode(file.getvalue()).decode()

        said = escape(self.text("widgets.figure_of", job=job.token))
        data = await asyncio.to_thread(draw)
        self._detail.value = f'<img alt="{said}" style="max-width:100%" src="data:image/png;base64,{data}">'
