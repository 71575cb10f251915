# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What stands between the network and gradio: the page's own requests pass, nothing else does.

Gradio also fetches addresses that a request names (``file=https://...``, a path that is a URL) and keeps painted
layers in memory whatever their size. A demo that promises to serve its own files only needs neither.
"""

import json
import re
from http import HTTPStatus

LOOPBACK = ('localhost', '127.0.0.1', '::1')
_API = '/gradio_api'
_PAGES = {
    '/',
    '/config',
    '/config/',
    '/theme.css',
    '/favicon.ico',
    '/manifest.json',
    '/robots.txt',
    f'{_API}/info',
    f'{_API}/theme.css',
    f'{_API}/startup-events',
    f'{_API}/queue/join',
    f'{_API}/queue/data',
    f'{_API}/upload',
    f'{_API}/upload_progress',
    f'{_API}/component_server',
    f'{_API}/component_server/',
    f'{_API}/reset',
    f'{_API}/reset/',
    f'{_API}/cancel',
}
_FOLDERS = ('/assets/', '/static/', f'{_API}/heartbeat/', f'{_API}/file=')
_ADDRESS = re.compile(r'[a-z][a-z0-9+.-]*:/?/?', re.IGNORECASE)
# The browser itself is told to talk to this server only.
_HEADERS = (
    (
        b'content-security-policy',
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
        b"frame-ancestors 'self'; form-action 'self'; object-src 'none'",
    ),
    (b'referrer-policy', b'no-referrer'),
    (b'x-content-type-options', b'nosniff'),
)
_MAX_JSON = 4 * 2**20


class Gate:
    """ASGI middleware around the demo.

    Args:
        app (Callable): The next ASGI application.
        max_body (int): Bytes of a request; more is refused with 413.
        hosts (tuple[str, ...], optional): Host names by which the page may be asked for, so that no foreign page
            reaches a server on loopback by a name of its own. None: any.
    """

    def __init__(self, app, max_body: int, hosts: tuple[str, ...] | None = None) -> None:
        self.app, self.max_body, self.hosts = app, max_body, hosts

    async def __call__(self, scope: dict, receive, send) -> None:
        """Pass an allowed HTTP request on; answer others with an error status."""
        if scope['type'] == 'lifespan':
            return await self.app(scope, receive, send)
        if scope['type'] != 'http':
            return None  # a websocket: the page needs none
        headers = {key.lower(): value for key, value in scope['headers']}
        status = self._judge(scope['path'], headers)
        body = None
        if status is None and headers.get(b'content-type', b'').startswith(b'application/json'):
            body = await _read(receive, min(self.max_body, _MAX_JSON))
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if body is None else _judge_json(body)
        if status is not None:
            return await _answer(send, status)
        await self.app(scope, self._counting(receive) if body is None else _replay(body, receive), _adding(send))

    def _judge(self, path: str, headers: dict[bytes, bytes]) -> HTTPStatus | None:
        host = headers.get(b'host', b'').decode('latin-1').lower()
        host = host[1:].split(']')[0] if host.startswith('[') else host.rsplit(':', 1)[0]
        if self.hosts is not None and host not in self.hosts:
            return HTTPStatus.MISDIRECTED_REQUEST
        if path not in _PAGES and not path.startswith(_FOLDERS):
            return HTTPStatus.NOT_FOUND
        if path.startswith(f'{_API}/file=') and is_address(path.split('=', 1)[1]):
            return HTTPStatus.FORBIDDEN
        length = headers.get(b'content-length', b'0')
        if not length.isdigit() or int(length) > self.max_body:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None

    def _counting(self, receive):
        total = 0

        async def counted() -> dict:
            nonlocal total
            message = await receive()
            total += len(message.get('body', b''))
            # A body without an announced length: to gradio it looks as if the sender went away.
            return dict(type='http.disconnect') if total > self.max_body else message

        return counted


def is_address(text: str) -> bool:
    """Whether a path is something to fetch: ``http://...``, ``file:...``; ``C:\\...`` is not."""
    found = _ADDRESS.match(text.strip().lstrip('/'))
    return found is not None and len(found[0].split(':')[0]) > 1


def _judge_json(body: bytes) -> HTTPStatus | None:
    try:
        waiting = [json.loads(body or b'null')]
    except (ValueError, RecursionError):
        return HTTPStatus.BAD_REQUEST
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get('path'), str) and is_address(value['path']):
                return HTTPStatus.FORBIDDEN
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return None


async def _read(receive, limit: int) -> bytes | None:
    """The whole body, or None when it is longer than ``limit`` bytes."""
    body, more = b'', True
    while more:
        message = await receive()
        body += message.get('body', b'')
        more = message.get('more_body', False)
        if len(body) > limit:
            return None
    return body


def _replay(body: bytes, receive):
    given = False

    async def replayed() -> dict:
        nonlocal given
        if given:
            return await receive()
        given = True
        return dict(type='http.request', body=body, more_body=False)

    return replayed


def _adding(send):
    async def added(message: dict) -> None:
        if message['type'] == 'http.response.start':
            message['headers'] = [*message.get('headers', ()), *_HEADERS]
        await send(message)

    return added


async def _answer(send, status: HTTPStatus) -> None:
    text = f'{status.value} {status.phrase}'.encode()
    await send(
        dict(
            type='http.response.start',
            status=status.value,
            headers=[(b'content-type', b'text/plain'), (b'content-length', str(len(text)).encode())],
        )
    )
    await send(dict(type='http.response.body', body=text))
