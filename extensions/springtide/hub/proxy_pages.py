"""What users see when nothing answers behind the proxy: the hub's error page, or a short one while the hub is away."""

from __future__ import annotations

import logging
from html import escape
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.httputil import HTTPHeaders

from springtide.texts import pick_language, translator

log = logging.getLogger("springtide.proxy")

_HUB_ANSWERS_WITHIN_S = 5.0
_RETRY_AFTER_S = 5
# Cookies stay behind: the page was asked for without the user's, and new ones would end her login forms' validity.
_PASSED_ON = ("Content-Type", "Content-Security-Policy", "Content-Language")
_PAGE = """<!DOCTYPE html>
<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>{refresh}
<style>body {{ font: 1.1rem/1.5 sans-serif; max-width: 36rem; margin: 15vh auto; padding: 0 1rem }}</style>
</head><body><h1>{title}</h1><p>{text}</p></body></html>
"""


class ErrorPages:
    """Makes the page of a status; `error_target` is where the hub has its own, or empty."""

    def __init__(self, error_target: str) -> None:
        self._error_target = error_target.rstrip("/")
        # An instance of its own, and not the process-wide one, which does ten requests at once.
        self._client = AsyncHTTPClient(force_instance=True, max_clients=100)

    async def page(self, status: int, path: str, accept_language: str) -> tuple[HTTPHeaders, bytes]:
        """Return headers and body of the page that says `status` about `path`, which has no query."""
        headers = HTTPHeaders({"Cache-Control": "no-store"})
        if self._error_target:
            try:
                answer = await self._client.fetch(
                    f"{self._error_target}/{status}?url={quote(path, safe='')}",
                    headers={"Accept-Language": accept_language} if accept_language else None,
                    connect_timeout=_HUB_ANSWERS_WITHIN_S,
                    request_timeout=_HUB_ANSWERS_WITHIN_S,
                )
            except (HTTPClientError, OSError) as error:
                log.info("no error page from the hub: %s", error)
            else:
                headers.update({name: answer.headers[name] for name in _PASSED_ON if name in answer.headers})
                return headers, answer.body
        headers["Content-Type"] = "text/html; charset=utf-8"
        return headers, _own_page(status, pick_language(accept_language))


def _own_page(status: int, language: str) -> bytes:
    t = translator(language)
    if status == 404:
        title, text, refresh = t("proxy.nothing_here_title"), t("proxy.nothing_here"), ""
    else:
        title, text = t("proxy.no_answer_title"), t("proxy.no_answer")
        refresh = f'<meta http-equiv="refresh" content="{_RETRY_AFTER_S}">'
    return _PAGE.format(language=language, title=escape(title), text=escape(text), refresh=refresh).encode()
