"""The controls of one parameter in a form, and what is wrong with what was typed into them."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets

from springtide.errors import ParameterError
from springtide.jobs.applications.describe import allowed, default_of
from springtide.jobs.applications.files import Home
from springtide.jobs.applications.parameters import (
    BooleanParameter,
    ChoiceParameter,
    FileParameter,
    Parameter,
    TextParameter,
)
from springtide.jobs.applications.values import Value, read_several, read_value
from springtide.texts import translator
from springtide.widgets import markup

WIDE = ipywidgets.Layout(width="32em", max_width="100%")
LABEL = {"description_width": "12em"}
_TYPED_TEXTS = (ipywidgets.Text, ipywidgets.Textarea)


class Field(ipywidgets.VBox):
    """A parameter: its control, whether several values are meant, and words below.

    Parameters
    ----------
    home : Home
        Where files may lie.
    before : list, optional
        The values that an earlier job had: they are shown, and only what is changed is `changed`.
    """

    def __init__(
        self, name: str, parameter: Parameter, home: Home, language: str, before: list[Value] | None = None
    ) -> None:
        self.name, self.parameter, self.home = name, parameter, home
        self.wrong = ""
        self._kept = before is not None
        self._language, self._text = language, translator(language)
        # Below the control, not below its label.
        self._words = ipywidgets.HTML(layout=ipywidgets.Layout(margin="0 0 0 12.5em"))
        self._several = ipywidgets.Checkbox(description=self._text("widgets.several"), indent=False)
        self._control = self._one()
        self._many = self._of_many()
        self._line = ipywidgets.HBox([], layout=ipywidgets.Layout(flex_flow="row wrap"))
        self._arrange()
        super().__init__([self._line, self._words])
        if before is not None and not isinstance(parameter, FileParameter):
            self._show(before)
        self._first = self.given
        self.check()

    def listen(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each change, once it was checked."""

        def see(_: Any) -> None:
            self._arrange()
            self.check()
            changed()

        for control in {self._control, self._many, self._several}:
            control.observe(see, "value")

    @property
    def several(self) -> bool:
        """Whether several values are meant, one run each."""
        return bool(self._several.value)

    @property
    def given(self) -> Any:
        """What was typed or chosen; None: nothing. With `several`, a text such as ``1..8``, or a list."""
        if isinstance(self.parameter, BooleanParameter):
            return [False, True] if self.several else self._control.value
        if isinstance(self.parameter, ChoiceParameter):
            return list(self._many.value) if self.several else self._control.value
        typed = str(self._control.value)
        return typed if self.several else typed.strip("\n") or None

    @property
    def changed(self) -> bool:
        """Whether it is not as it was at first."""
        return bool(self.given != self._first)

    @property
    def is_left_out(self) -> bool:
        """Whether there is nothing to send: the default counts, or what an earlier job had."""
        return self.given is None

    def check(self) -> None:
        """Say what is wrong with it, or what is allowed."""
        self.wrong = ""
        try:
            if self.several:
                read_several(self.name, self.parameter, self.given, self.home)
            elif not (self._kept and self.is_left_out):
                read_value(self.name, self.parameter, self.given, self.home)
        except ParameterError as error:
            # What is merely missing is no mistake before anything was typed.
            self.wrong = error.message
            if self.is_left_out:
                self._words.value = self._hint()
                return
        self._words.value = markup.wrong(f"{self.wrong} {self._allowed()}") if self.wrong else self._hint()

    def refuse(self, words: str) -> None:
        """Show what somebody else finds wrong with it."""
        self._words.value = markup.wrong(words)

    # --- controls ---------------------------------------------------------------------------------------------------

    def _one(self) -> Any:
        parameter, text = self.parameter, self._text
        label = parameter.label.in_language(self._language)
        shared = {"description": label, "style": LABEL, "layout": WIDE, "tooltip": self._help() or label}
        if isinstance(parameter, BooleanParameter):
            return ipywidgets.Checkbox(value=bool(parameter.default), **shared)
        if isinstance(parameter, ChoiceParameter):
            options = self._choices(parameter)
            if parameter.default is None:
                return ipywidgets.Dropdown(options=[("", None), *options], value=None, **shared)
            return ipywidgets.Dropdown(options=options, value=parameter.default, **shared)
        kind = ipywidgets.Textarea if isinstance(parameter, TextParameter) and parameter.lines else ipywidgets.Text
        shown = text("widgets.as_it_was") if self._kept else default_of(parameter, text)
        return kind(placeholder=shown, continuous_update=True, **shared)

    def _choices(self, parameter: ChoiceParameter) -> list[tuple[str, str]]:
        labels = [
            (choice.label.in_language(self._language) if choice.label else choice.value, choice.value)
            for choice in parameter.choices
        ]
        unique = len({label for label, _ in labels}) == len(labels)
        return labels if unique else [(value, value) for _, value in labels]

    def _of_many(self) -> Any:
        if not isinstance(self.parameter, ChoiceParameter):
            return self._control
        label = self.parameter.label.in_language(self._language)
        return ipywidgets.SelectMultiple(
            options=self._choices(self.parameter), description=label, style=LABEL, layout=WIDE
        )

    def _arrange(self) -> None:
        typed_once = isinstance(self.parameter, (TextParameter, FileParameter)) or not self.parameter.sweep
        shown = [self._many if self.several else self._control, *([] if typed_once else [self._several])]
        if list(self._line.children) != shown:
            self._line.children = shown

    def _show(self, values: list[Value]) -> None:
        self._several.value = len(values) > 1
        if isinstance(self._control, _TYPED_TEXTS):
            shown = [
                f"{value:.15g}" if isinstance(value, float) else str(value) for value in values if value is not None
            ]
            self._control.value = ", ".join(shown)
        elif self._many is not self._control and self.several:
            self._many.value = [str(value) for value in values]
        elif not self.several:
            self._control.value = values[0]
        self._arrange()

    # --- words ------------------------------------------------------------------------------------------------------

    def _help(self) -> str:
        return self.parameter.help.in_language(self._language) if self.parameter.help else ""

    def _allowed(self) -> str:
        if self.several and isinstance(self._control, _TYPED_TEXTS):
            return str(self._text("widgets.several_how"))
        if isinstance(self.parameter, (BooleanParameter, ChoiceParameter)):
            return ""
        return str(self._text("widgets.allowed", what=allowed(self.parameter, self._language)))

    def _hint(self) -> str:
        return markup.hint(" ".join(filter(None, (self._help(), self._allowed()))))


def line(label: str, placeholder: str) -> Any:
    """Return a control for one line that may stay empty."""
    return ipywidgets.Text(
        description=label, placeholder=placeholder, continuous_update=True, style=LABEL, layout=WIDE, tooltip=label
    )


def title(words: str, help_words: str) -> str:
    """Return what an application is."""
    return f"<b>{escape(words)}</b>{markup.hint(help_words)}"
