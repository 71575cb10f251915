# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
import asyncio
import json

import pytest
from web_demo.gate import LOOPBACK, Gate, is_address


def ask(path='/', host='localhost:7860', body=b'', headers=(), gate=None, **kwargs) -> tuple[int, dict, bytes]:
    """Status, headers and what the application behind the gate was sent."""
    got, sent = [], []

    async def app(scope, receive, send):
        message = await receive()
        got.append(message.get('body', b'') if message['type'] == 'http.request' else None)
        await send(dict(type='http.response.start', status=200, headers=[]))
        await send(dict(type='http.response.body', body=b''))

    async def receive():
        return dict(type='http.request', body=body, more_body=False)

    async def send(message):
        sent.append(message)

    scope = dict(type='http', path=path, headers=[(b'host', host.encode()), *headers])
    asyncio.run(Gate(app, **dict(dict(max_body=1000, hosts=LOOPBACK), **kwargs))(scope, receive, send))
    return sent[0]['status'], dict(sent[0]['headers']), got[0] if got else None


@pytest.mark.parametrize(
    'path',
    [
        '/',
        '/config',
        '/assets/index.js',
        '/gradio_api/queue/join',
        '/gradio_api/file=/tmp/x/image.jpeg',
        r'/gradio_api/file=C:\Temp\image.jpeg',
    ],
)
def test_the_page_passes_and_may_only_call_home(path):
    status, headers, _ = ask(path)
    assert status == 200 and b"default-src 'self'" in headers[b'content-security-policy']


@pytest.mark.parametrize(
    'path, status',
    [
        ('/gradio_api/file=https://example.org/a.png', 403),
        ('/gradio_api/file=HTTP:/example.org/a.png', 403),
        ('/gradio_api/file=file:///etc/passwd', 403),
        ('/gradio_api/proxy=https://example.org', 404),
        ('/gradio_api/info/../vibe-edit', 404),
        ('/monitoring', 404),
        ('/docs', 404),
    ],
)
def test_nothing_else_does(path, status):
    assert ask(path)[0] == status


def test_another_name_for_loopback_is_refused():
    assert ask(host='evil.example:7860')[0] == 421
    assert ask(host='127.0.0.1')[0] == ask(host='[::1]:7860')[0] == 200
    assert ask(host='evil.example:7860', hosts=None)[0] == 200  # where --host opened it


def test_large_bodies_are_refused_with_and_without_an_announcement():
    assert ask(headers=[(b'content-length', b'1001')])[0] == 413
    assert ask(headers=[(b'content-length', b'-5')])[0] == 413
    assert ask(body=b'x' * 1001)[2] is None  # to the application the sender is gone
    assert ask(body=b'x' * 1000)[2] == b'x' * 1000
    assert ask(body=b'"' + b'x' * 1000 + b'"', headers=[(b'content-type', b'application/json')])[0] == 413


def test_addresses_in_requests_are_not_fetched():
    kind = [(b'content-type', b'application/json')]
    good = json.dumps(
        dict(data=[None, dict(path='/tmp/x.png', url='http://localhost:7860/gradio_api/file=x')])
    ).encode()
    bad = json.dumps(dict(data=[[dict(background=dict(path='https://example.org/x.png'))]])).encode()
    assert ask('/gradio_api/queue/join', body=good, headers=kind)[::2] == (200, good)
    assert ask('/gradio_api/queue/join', body=bad, headers=kind)[0] == 403
    assert ask('/gradio_api/queue/join', body=b'{', headers=kind)[0] == 400
    assert is_address(' ftp://x') and not is_address('/tmp/a:b.png') and not is_address('a/http:x')
