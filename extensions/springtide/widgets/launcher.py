"""``springtide.launcher()``: choose an application, fill its form, launch it, and follow what becomes of it."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets

from springtide.jobs.applications.load import Offer
from springtide.jobs.desk import Desk
from springtide.jobs.remote import RemoteDesk
from springtide.ledger.records import RunRecord
from springtide.texts import translator
from springtide.widgets.fields import LABEL, WIDE
from springtide.widgets.form import Form
from springtide.widgets.table import JobsTable


class Launcher(ipywidgets.VBox):
    """The applications that a desk's user may run, with a form for each, and a table of the user's jobs.

    Parameters
    ----------
    application : str
        The one that is shown first; by default the first of them.

    Raises
    ------
    UnknownApplication
        If there is none of this name.
    """

    def __init__(self, desk: Desk | RemoteDesk, language: str = "en", application: str = "") -> None:
        self.desk, self.language, self.text = desk, language, translator(language)
        self.offers = {offer.full_name: offer for offer in desk.offers()}
        first = desk.offer(application).full_name if application else next(iter(self.offers), None)
        self._forms: dict[str, Form] = {}
        self._place = ipywidgets.VBox()
        self.table = JobsTable(desk, language)
        self.choice = ipywidgets.Dropdown(
            options=[(_named(offer, language), name) for name, offer in self.offers.items()],
            value=first,
            description=self.text("widgets.application"),
            style=LABEL,
            layout=WIDE,
        )
        self.choice.observe(lambda _: self._show(), "value")
        nothing = ipywidgets.HTML(f"<p>{escape(self.text('widgets.no_applications'))}</p>")
        super().__init__([self.choice if self.offers else nothing, self._place, self.table])
        self._show()

    @property
    def form(self) -> Form | None:
        """The form that is shown."""
        return self._forms.get(self.choice.value)

    def close(self) -> None:
        """End it, and all that follows jobs for it."""
        for one in (*getattr(self, "_forms", {}).values(), getattr(self, "table", None)):
            if one is not None:
                one.close()
        super().close()

    def _show(self) -> None:
        name = self.choice.value
        if name and name not in self._forms:
            # What was typed stays while another application is looked at.
            self._forms[name] = Form(self.desk, self.offers[name], self.language, submitted=self._see)
        self._place.children = [self._forms[name]] if name else []

    def _see(self, run: RunRecord) -> None:
        self.table.choose(run.token)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        shown = dict(super()._repr_mimebundle_(**options) or {})
        names = list(self.offers)
        example = f'springtide.run("{names[0]}")' if names else ""
        shown["text/plain"] = self.text("widgets.without", applications=", ".join(names), example=example)
        return shown


def _named(offer: Offer, language: str) -> str:
    return f"{offer.application.label.in_language(language)} ({offer.full_name})"
