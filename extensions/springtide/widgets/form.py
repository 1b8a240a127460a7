"""A form of one application: checked while one types, with an estimate of when it may start, and a button to launch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from springtide.errors import NotSubmitted, ParameterError, SpringtideError
from springtide.jobs import routing
from springtide.jobs.applications.describe import resources
from springtide.jobs.applications.load import Offer
from springtide.jobs.applications.parameters import FileParameter
from springtide.jobs.asked import Asked
from springtide.jobs.desk import Desk
from springtide.jobs.remote import RemoteDesk
from springtide.jobs.spec import JobSpec
from springtide.ledger.records import RunRecord
from springtide.queues.bookkeeping import new_token
from springtide.texts import translator
from springtide.units import describe_duration, format_memory
from springtide.widgets import markup
from springtide.widgets.fields import LABEL, WIDE, Field, line, title
from springtide.widgets.following import Works

PAUSE_S = 0.6
"""How long nobody types before an estimate is asked for."""


class Form(ipywidgets.VBox):
    """What an application takes.

    Parameters
    ----------
    before : RunRecord, optional
        A job of it that is to run again: the form begins with what that one had.
    submitted : callable
        Called with each job that was submitted, in the thread of jobs.
    """

    def __init__(
        self,
        desk: Desk | RemoteDesk,
        offer: Offer,
        language: str,
        *,
        before: RunRecord | None = None,
        submitted: Callable[[RunRecord], None] = lambda run: None,
    ) -> None:
        self.desk, self.offer, self.language, self.before = desk, offer, language, before
        self.text = translator(language)
        self._submitted = submitted
        self._start = Path.cwd()
        self._lock, self._works = threading.RLock(), Works()
        self._version = 0
        self._token = new_token()
        spec = JobSpec.from_json(before.spec) if before else None
        self.fields = {name: self._field(name, spec) for name in offer.application.parameters}
        self.wishes = self._lines(spec)
        self.site = self._sites(spec)
        self._refused, self._estimate, self._message = (ipywidgets.HTML() for _ in range(3))
        self.button = ipywidgets.Button(
            description=self.text("widgets.launch"),
            button_style="primary",
            icon="play",
            layout={"align_self": "flex-start"},
        )
        self.button.on_click(lambda _: self.launch())
        limits = ipywidgets.HTML(markup.hint(resources(offer.application.resources, language)))
        more = ipywidgets.Accordion(
            [ipywidgets.VBox([*self.wishes.values(), limits, self._refused])],
            titles=[self.text("widgets.resources")],
            layout=ipywidgets.Layout(max_width="48em"),
        )
        head = ipywidgets.HTML(title(self._label(offer.application.label), self._label(offer.application.help)))
        super().__init__(
            [head, *self.fields.values(), self.site, more, self._estimate, self.button, self._message],
            layout=ipywidgets.Layout(width="100%"),
        )
        for field in self.fields.values():
            field.listen(self._changed)
        for control in (*self.wishes.values(), self.site):
            control.observe(lambda _: self._changed(), "value")
        self._changed()

    def close(self) -> None:
        """End it, and all that it waits for."""
        if works := getattr(self, "_works", None):
            works.close()
        super().close()

    # --- what it asks for -------------------------------------------------------------------------------------------

    @property
    def wrong(self) -> list[str]:
        """The labels of the parameters that are wrong or missing."""
        return [self._label(field.parameter.label) for field in self.fields.values() if field.wrong]

    def asked(self) -> tuple[dict[str, Any], Asked]:
        """Return what the application is given, and how it is to run."""
        sent = [field for field in self.fields.values() if not field.is_left_out and (field.changed or not self.before)]
        given = {field.name: field.given for field in sent if not _is_sweep(field)}
        sweep = {field.name: field.given for field in sent if _is_sweep(field)}
        wishes = {name: control.value.strip() for name, control in self.wishes.items() if control.value.strip()}
        return given, Asked(site=self.site.value, sweep=sweep, start=self._start, token=self._token, **wishes)

    def launch(self) -> None:
        """Submit it, once however often the button is pressed."""
        with self._lock:
            self._message.value = ""
            if self.wrong:
                self._message.value = markup.wrong(self.text("widgets.mend", which=", ".join(self.wrong)))
                return
            self.button.disabled = True
            self._works.start(self._submit(*self.asked()))

    async def _submit(self, given: Mapping[str, Any], asked: Asked) -> None:
        try:
            if self.before:
                run = await self.desk.submit_again(self.before, given, asked)
            else:
                run = await self.desk.submit(self.offer.full_name, given, asked)
        except SpringtideError as error:
            # Where nobody knows whether it was submitted, asking again under the same token submits nothing twice.
            self._token = self._token if error.transient else new_token()
            self._refuse(error, self._message)
            return
        except Exception as error:  # whatever it is, the button must work again
            self._message.value = markup.wrong(f"{type(error).__name__}: {error}")
            return
        finally:
            self.button.disabled = False
        self._token = new_token()
        self._message.value = markup.status(self.text("widgets.submitted", job=run.token))
        self._submitted(run)

    # --- what it says -----------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        with self._lock:
            self._version += 1
            self._refused.value = self._message.value = ""
            if self.wrong:
                self._estimate.value = ""
            elif not self._needs_files_of_before():
                self._works.start(self._foresee(self._version, *self._whole()))

    def _whole(self) -> tuple[dict[str, Any], Asked]:
        """Return all that the form holds, also what an earlier job had."""
        given, asked = self.asked()
        rest = {name: field for name, field in self.fields.items() if not (field.is_left_out or name in given)}
        unchanged = {name: field.given for name, field in rest.items() if not _is_sweep(field)}
        sweep = {name: field.given for name, field in rest.items() if _is_sweep(field)}
        return {**unchanged, **given}, Asked(**{**vars(asked), "sweep": {**sweep, **asked.sweep}, "token": ""})

    def _needs_files_of_before(self) -> bool:
        files = (field for field in self.fields.values() if isinstance(field.parameter, FileParameter))
        return self.before is not None and any(field.is_left_out and field.parameter.required for field in files)

    async def _foresee(self, version: int, given: Mapping[str, Any], asked: Asked) -> None:
        await asyncio.sleep(PAUSE_S)
        if version != self._version:
            return
        try:
            runs, candidates = await self.desk.foresee(self.offer.full_name, given, asked)
            best, reason = routing.choose(candidates, self.language)
            where = reason if asked.site in ("", routing.AUTO) else routing.start_at(best, self.language)
            words = markup.hint(f"{self.text('widgets.runs', count=runs)} {where}")
        except SpringtideError as error:
            if version == self._version:
                self._refuse(error, self._estimate)
            return
        if version == self._version:
            self._estimate.value = words

    def _refuse(self, error: SpringtideError, elsewhere: Any) -> None:
        """Show what is wrong where it is wrong."""
        field = error.field if isinstance(error, ParameterError) else ""
        words = f"{error.message} {error.hint}".strip()
        if field in self.fields:
            self.fields[field].refuse(words)
        elif field in self.wishes:
            self._refused.value = markup.wrong(f"{self.wishes[field].description}: {words}")
        else:
            elsewhere.value = markup.wrong(error.message if isinstance(error, NotSubmitted) else str(error))

    # --- controls ---------------------------------------------------------------------------------------------------

    def _field(self, name: str, spec: JobSpec | None) -> Field:
        parameter = self.offer.application.parameters[name]
        values = list(dict.fromkeys(run.get(name) for run in spec.runs)) if spec else None
        return Field(name, parameter, self.desk.files(self._start), self.language, values)

    def _lines(self, spec: JobSpec | None) -> dict[str, Any]:
        needed = self.offer.application.resources
        usual = {
            "cores": str(spec.cores if spec else needed.cores.default),
            "memory": format_memory(spec.memory_bytes if spec else needed.memory.default),
            "walltime": describe_duration(spec.walltime_s if spec else needed.walltime.default),
            "name": spec.name if spec else self.offer.name,
        }
        return {name: line(self.text(f"widgets.wish_{name}"), shown) for name, shown in usual.items()}

    def _sites(self, spec: JobSpec | None) -> Any:
        names = list(self.desk.site_names())
        chosen = spec.site if spec and not spec.reason and spec.site in names else routing.AUTO
        options = [(self.text("widgets.anywhere"), routing.AUTO), *((name, name) for name in names)]
        return ipywidgets.Dropdown(
            options=options, value=chosen, description=self.text("jobs.head_site"), style=LABEL, layout=WIDE
        )

    def _label(self, words: Any) -> str:
        return str(words.in_language(self.language)) if words else ""


def _is_sweep(field: Field) -> bool:
    return field.several and isinstance(field.given, str)
