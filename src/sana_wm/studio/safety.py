"""Who may ask the page's server: a browser of this machine that was given the token, from the page itself.

Any page of the web can make a browser ask 127.0.0.1. It cannot know the token; a name of its own that leads here (DNS
rebinding) shows as `Host`; and its requests name it as their `Origin`.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The largest picture; a camera's raw-sized HEIC or TIFF fits.
MOST_UPLOAD_BYTES = 200 * 1024**2
#: Anything else that a page sends.
MOST_REQUEST_BYTES = 1024**2
UPLOAD_PATH = "/upload"
#: Nothing is loaded from, sent to or framed by another place. The page's library compiles templates in the browser.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
HEADERS = {
    b"content-security-policy": CONTENT_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}


class Guard:
    """Lets requests through that may ask; stands before everything else, the websocket too.

    Args:
        app: What they ask.
        port: That the server listens on.
        token: That the page's address holds.
    """

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._cookie = f"sana_wm_studio_{port}"  # cookies know no ports: two studios must not share one

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        answer = self._answer(scope, Headers(scope=scope))
        if answer is None:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, _with_headers(send))

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """What is said instead of passing a request on."""
        host, origin = headers.get("host"), headers.get("origin")
        if host not in self._hosts:
            return PlainTextResponse("This address is not the studio's.", 421)
        needs_origin = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if origin != f"http://{host}" and (origin is not None or needs_origin):
            return PlainTextResponse("Another page asked.", 403)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._is_token(given):
            return self._let_in()
        if not self._is_token(_read_cookie(headers.get("cookie", ""), self._cookie)):
            return PlainTextResponse("Open the whole address that sana-wm studio printed; its token is missing.", 403)
        return _refuse_body(scope, headers) if scope["type"] == "http" else None

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _let_in(self) -> Response:
        """Take the token out of the address, so that it stands in no history and no picture of the screen."""
        response = RedirectResponse("/", 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return response


def _read_cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _refuse_body(scope: Scope, headers: Headers) -> Response | None:
    """Refuse what is too large by what it says of itself, before a byte of it is read; the server reads no more."""
    if "transfer-encoding" in headers:
        return PlainTextResponse("Its length must be said first.", 411)
    length = headers.get("content-length", "0")
    most = MOST_UPLOAD_BYTES if scope["path"] == UPLOAD_PATH else MOST_REQUEST_BYTES
    if not length.isdecimal() or int(length) > most:
        what = f"got {length} bytes, expected {most // 1024**2} MiB at most"
        return PlainTextResponse(f"This is too large: {what}.", 413, {"connection": "close"})
    return None


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS.items()]
        await send(message)

    return send_with_headers
