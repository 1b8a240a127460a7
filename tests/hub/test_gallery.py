"""What the tutorials folder offers, and what a user's copy holds: no hub, no session."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from springtide.hub.gallery import (
    LARGEST_NOTEBOOK_BYTES,
    Gallery,
    Session,
    Tutorial,
    Unreadable,
    best_session,
    choose_kernel,
    copies_of,
    copy_text,
    next_copy,
    origin_sha256,
    parse_entry,
    wanted_environment,
)


def notebook(*markdown: str, **metadata: Any) -> bytes:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in markdown]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}).encode()


def tutorial(content: bytes, name: str = "noise") -> Tutorial:
    entry = parse_entry(name, content)
    assert isinstance(entry, Tutorial)
    return entry


def test_a_tutorial_says_who_it_is_in_its_metadata() -> None:
    declared = {
        "title": {"en": "Noise", "fr": "Bruit"},
        "summary": {"en": "Simulate it.", "fr": "Simulez-le."},
        "environment": "lisa",
        "minutes": 3,
        "order": 1,
    }
    found = tutorial(notebook("# Other", springtide=declared))
    assert (found.title.in_language("fr"), found.title.in_language("en")) == ("Bruit", "Noise")
    assert found.summary is not None
    assert found.summary.in_language("fr") == "Simulez-le."
    assert (found.environment, found.minutes, found.order, found.problem) == ("lisa", 3, 1, "")


def test_without_metadata_heading_paragraph_and_kernel_speak_for_it() -> None:
    kernel = {"name": "springtide-lisa", "display_name": "LISA"}
    text = "![logo](x.png)\n\n## The *noise* of [LISA](http://x)\n\n- a list\n\nFirst **real**\nparagraph.\n\nSecond."
    found = tutorial(notebook(text, kernelspec=kernel))
    assert found.title.en == "The noise of LISA"
    assert found.summary is not None
    assert found.summary.en == "First real paragraph."
    assert found.environment == "lisa"


def test_a_notebook_without_any_text_goes_by_its_file_name() -> None:
    found = tutorial(notebook(kernelspec={"name": "python3"}), "02 fit")
    assert (found.title.en, found.summary, found.environment) == ("02 fit", None, "")


def test_a_long_first_paragraph_is_cut_at_a_word() -> None:
    found = tutorial(notebook("word " * 100))
    assert found.summary is not None
    assert found.summary.en.endswith("word …")
    assert len(found.summary.en) < 250


@pytest.mark.parametrize(
    "declared",
    [{"minutes": "three"}, {"minutes": float("nan")}, {"environment": "../x"}, {"title": {"en": "a\nb"}}, [1], "x"],
)
def test_wrong_metadata_is_told_and_ignored(declared: Any) -> None:
    found = tutorial(notebook("# Title", springtide=declared))
    assert found.title.en == "Title"
    assert found.problem


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (notebook("# Half")[:-30], "not_json"),
        (b"", "not_json"),
        (b"\xff\xfe\x00", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"nbformat": 4, "metadata": {}, "cells": [], "x": "\\ud800"}', "not_json"),
        (b"[]", "not_notebook"),
        (b'{"nbformat": 3, "metadata": {}, "worksheets": []}', "not_notebook"),
        (b'{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "markdown", "source": [1]}]}', "not_notebook"),
        (b'{"nbformat": 4, "metadata": {}, "cells": [3]}', "not_notebook"),
        (b" " * (LARGEST_NOTEBOOK_BYTES + 1), "too_large"),
    ],
)
def test_what_is_no_whole_notebook_is_unreadable(content: bytes, reason: str) -> None:
    entry = parse_entry("x", content)
    assert isinstance(entry, Unreadable)
    assert entry.reason == reason


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_content_breaks_the_reader(content: bytes) -> None:
    assert parse_entry("x", content).name == "x"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ),
    st.text(max_size=60),
)
def test_no_metadata_and_no_markdown_breaks_the_reader(metadata: Any, markdown: str) -> None:
    content = {"nbformat": 4, "metadata": {"springtide": metadata, "kernelspec": metadata}}
    content["cells"] = [{"cell_type": "markdown", "source": markdown}]
    assert parse_entry("x", json.dumps(content).encode()).name == "x"


def test_the_folder_lists_notebooks_in_order_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "b.ipynb").write_bytes(notebook("# B", springtide={"order": 1}))
    (tmp_path / "a.ipynb").write_bytes(notebook("# A", springtide={"order": 2}))
    (tmp_path / "c.ipynb").write_bytes(notebook("# C"))
    (tmp_path / "0.ipynb").write_bytes(b"{")
    (tmp_path / ".hidden.ipynb").write_bytes(notebook("# H"))
    (tmp_path / "data.csv").write_text("1")
    (tmp_path / "folder.ipynb").mkdir()
    (tmp_path / "gone.ipynb").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.ipynb")
    assert [entry.name for entry in Gallery(tmp_path).entries()] == ["b", "a", "c", "0"]


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    path.write_bytes(notebook("# Old"))
    gallery = Gallery(tmp_path)
    (before,) = gallery.entries()
    assert gallery.entries()[0] is before
    path.write_bytes(notebook("# Newer"))
    (after,) = gallery.entries()
    assert isinstance(after, Tutorial)
    assert after.title.en == "Newer"


def test_a_name_no_page_can_show_is_unreadable(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.ipynb")).write_bytes(notebook("# A"))
    (entry,) = Gallery(tmp_path).entries()
    assert isinstance(entry, Unreadable)
    assert entry.reason == "bad_name"
    assert entry.name.isprintable()


def test_a_copy_tells_its_origin_and_keeps_the_rest() -> None:
    master = tutorial(notebook("# Bruit été", springtide={"order": 4, "mine": 1}, kernelspec={"name": "python3"}))
    copy = json.loads(copy_text(master))
    assert origin_sha256(copy) == master.sha256
    assert copy["metadata"]["springtide"]["mine"] == 1
    assert copy["cells"] == json.loads(master.content)["cells"]
    assert "été" in copy_text(master)


def test_a_copy_runs_on_the_kernel_it_is_given() -> None:
    kernel = {"name": "springtide-lisa", "display_name": "LISA", "language": "python"}
    copy = json.loads(copy_text(tutorial(notebook(kernelspec={"name": "python3"})), kernel))
    assert copy["metadata"]["kernelspec"] == kernel


@pytest.mark.parametrize("stranger", [None, [], "x", {}, {"metadata": 3}, {"metadata": {"springtide": {"origin": []}}}])
def test_a_notebook_of_other_origin_tells_none(stranger: Any) -> None:
    assert origin_sha256(stranger) == ""


def test_copies_are_numbered_and_never_take_another_tutorials_name() -> None:
    masters = ["fit", "fit-2", "fit(x)"]
    assert next_copy("fit", [], masters) == "fit.ipynb"
    assert next_copy("fit", ["fit.ipynb"], masters) == "fit-3.ipynb"
    assert next_copy("fit", ["fit.ipynb", "fit-9.ipynb", "fit-10.ipynb"], masters) == "fit-11.ipynb"
    assert next_copy("fit(x)", ["fit(x).ipynb"], masters) == "fit(x)-2.ipynb"


def test_copies_are_found_in_the_order_they_were_made() -> None:
    present = ["fit-10.ipynb", "fit-3.ipynb", "fit.ipynb", "fit-2.ipynb", "fit-x.ipynb", "fitter.ipynb", "fit-03.ipynb"]
    assert copies_of("fit", present, ["fit", "fit-2"]) == ("fit.ipynb", "fit-3.ipynb", "fit-10.ipynb")


def test_the_kernel_is_the_one_that_names_the_environment() -> None:
    lisa = {"springtide": {"environment": "lisa"}}
    kernelspecs = {
        "python3": {"spec": {"display_name": "Python", "metadata": {}}},
        "lisa": {"spec": {"display_name": "Impostor", "metadata": {"springtide": {"environment": "lpf"}}}},
        "kernel-7": {"spec": {"display_name": "LISA", "language": "python", "metadata": lisa}},
        "odd": None,
    }
    assert choose_kernel(kernelspecs, "lisa") == {"name": "kernel-7", "display_name": "LISA", "language": "python"}
    assert choose_kernel({"springtide-lisa": {"spec": {}}}, "lisa") is not None
    assert choose_kernel(kernelspecs, "base") is None


def test_a_tutorial_opens_where_its_environment_is_rather_than_where_something_runs() -> None:
    lisa = tutorial(notebook(springtide={"environment": "lisa"}))
    base = Session("", "main", True, frozenset({"base"}))
    starting = Session("lisa", "lisa", False, frozenset({"lisa"}))
    running = Session("other", "other", True, frozenset({"lisa", "base"}))
    assert best_session(lisa, [base, starting, running]) is running
    assert best_session(lisa, [base, starting]) is starting
    assert best_session(lisa, [base]) is base
    assert best_session(lisa, []) is None


def test_of_a_session_whose_environments_are_not_known_nothing_bad_is_said() -> None:
    assert Session("", "main", True, frozenset()).fits(tutorial(notebook(springtide={"environment": "lisa"})))


def test_the_spawn_page_learns_which_environment_a_start_is_for() -> None:
    assert wanted_environment("/hub/gallery/open?name=a&server=&environment=lisa") == "lisa"
    for other in ("", "/hub/home", "/hub/gallery/open?name=a", "/hub/gallery/open?environment=../x", "http://[x"):
        assert wanted_environment(other) == ""
