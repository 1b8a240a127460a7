"""What a failed start shows, on pages and to programs."""

import pytest

from springtide.errors import QueueUnreachable
from springtide.hub.words import spawn_failure, spawn_failure_of


def test_pages_show_message_and_log_as_text_and_not_as_html() -> None:
    failure = spawn_failure("no <b>disk</b>", reason="site", log=["<script>", "a & b"])
    page = failure.jupyterhub_html_message
    assert "no &lt;b&gt;disk&lt;/b&gt;" in page
    assert "&lt;script&gt;\na &amp; b</pre>" in page
    assert "<script>" not in page


def test_programs_get_plain_text_with_the_log_below() -> None:
    failure = spawn_failure("It ended.", reason="site", log=["line 1", "line 2"])
    assert failure.jupyterhub_message == "It ended.\nline 1\nline 2"


def test_without_a_log_there_is_no_empty_box() -> None:
    assert "<pre" not in spawn_failure("It ended.", reason="site").jupyterhub_html_message


@pytest.mark.parametrize("status", [400, 500])
def test_the_http_status_is_that_of_the_fault(status: int) -> None:
    assert spawn_failure("x", reason="options", status_code=status).status_code == status


def test_an_error_of_ours_keeps_its_hint() -> None:
    failure = spawn_failure_of(QueueUnreachable("It is down.", "Wait."), reason="site")
    assert failure.jupyterhub_message == "It is down. Wait."
