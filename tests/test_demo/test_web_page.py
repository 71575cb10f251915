# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The page in a real browser, and what its server answers. Skipped where gradio, playwright or a browser is missing."""

import http.client
import io
import ipaddress
import json
import re
import shutil
import socket
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
import web_toys as toys
from PIL import Image

from mmfss.visualization.sheet import class_color

pytest.importorskip('gradio', reason='needs gradio: pip install -r requirements/demo.txt')
BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
FLAGS = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
]


@pytest.fixture(scope='module')
def called():
    """Hosts other than this machine that the process looks up or connects to."""
    hosts, patch = [], pytest.MonkeyPatch()

    def note(host):
        try:
            home = ipaddress.ip_address(host).is_loopback
        except ValueError:
            home = host in (None, '', 'localhost', b'localhost')
        if not home:
            hosts.append(host)

    look_up, connect = socket.getaddrinfo, socket.socket.connect
    patch.setattr(socket, 'getaddrinfo', lambda host, *a, **k: (note(host), look_up(host, *a, **k))[1])
    patch.setattr(
        socket.socket, 'connect', lambda self, at: (isinstance(at, tuple) and note(at[0]), connect(self, at))[1]
    )
    yield hosts
    patch.undo()


@pytest.fixture(scope='module')
def served(called):
    """Address of a page around a toy model, and that model."""
    from web_demo import Limits, build_app, serve

    inferencer = toys.ColorInferencer()
    app = build_app(inferencer, Limits(max_queries=3))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    url = serve(app, port=port, max_upload_mb=1, block=False)
    yield url.rstrip('/'), inferencer
    app.close()


@pytest.fixture(scope='module')
def browser():
    """A headless Chromium of the system."""
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright: requirements/demo.txt')
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip('needs a Chromium or Chrome')
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@contextmanager
def page_of(browser, url):
    """An open page that fails the test when it asks other machines for something, or a script breaks."""
    page, wrong = browser.new_page(viewport=dict(width=1280, height=900)), []
    page.set_default_timeout(180_000)  # milliseconds; a busy machine without a GPU draws slowly
    page.on('request', lambda r: r.url.startswith((url, 'data:', 'blob:')) or wrong.append(r.url))
    page.on('pageerror', lambda error: wrong.append(str(error)))
    page.goto(url)
    page.locator('#examples input[type=file]').wait_for(state='attached')
    yield page
    page.close()
    assert not wrong


def show(page, name, *files, box=None, stroke=None):
    """Load examples where there are none yet, mark the first and add it to a class."""
    if files:
        page.set_input_files('#examples input[type=file]', files)
    canvas = page.locator('#editor canvas').first
    canvas.wait_for()
    if stroke:
        page.wait_for_timeout(1500)  # the editor scales the image into place
        place = canvas.bounding_box()
        x, y = place['x'] + place['width'] / 2, place['y'] + place['height'] / 2
        page.mouse.move(x + stroke[0][0], y + stroke[0][1])
        page.mouse.down()
        for dx, dy in stroke[1:]:
            page.mouse.move(x + dx, y + dy, steps=8)
        page.mouse.up()
    if box:
        field(page, '#box').fill(box)
    field(page, '#name').fill(name)
    page.click('#add')


def field(page, where):
    """The text field inside a component."""
    return page.locator(f'{where} textarea, {where} input:not([type=range])').first


def caption(page, text):
    """Wait until a result is described so."""
    page.locator('#results', has_text=re.compile(text)).wait_for()


def picture(page, index=0) -> np.ndarray:
    """A result as the page shows it, (H, W, 3) uint8 RGB."""
    answer = page.request.get(page.locator('#results img').nth(index).evaluate('image => image.src'))
    return np.asarray(Image.open(io.BytesIO(answer.body())).convert('RGB'))


@pytest.mark.slow
def test_paint_segment_threshold_download(browser, served, called, tmp_path):
    url, inferencer = served
    query = toys.write(tmp_path / 'query one.png', box=(40, 30, 160, 210))
    other = toys.write(tmp_path / 'brick.png', toys.RED)
    with page_of(browser, url) as page:
        strokes = [(-30, -30), (30, -30), (30, 0), (-30, 0), (-30, 30), (30, 30)]
        show(page, 'leaf', toys.write(tmp_path / 'example.png'), other, stroke=strokes)
        page.locator('#chips', has_text='leaf: 1 example').wait_for()
        show(page, 'brick', box='110, 70, 200, 170')  # the second upload came by itself
        page.locator('#chips', has_text='brick: 1 example').wait_for()
        assert page.locator('#shots img').count() == 2

        page.set_input_files('#queries input[type=file]', [query, other])
        page.locator('#queries', has_text='brick').wait_for()
        page.click('#segment')
        caption(page, r'query one\.png: leaf 28\.1%')
        caption(page, r'brick\.png: brick 18\.8%')
        shown = picture(page)  # at twice the size
        tinted = 0.4 * np.array(toys.GREEN) + 0.6 * np.array(class_color(1))
        assert abs(shown[200:280, 160:240].mean((0, 1)) - tinted).max() < 4
        assert abs(shown[80:400, 400:600].mean((0, 1)) - 128).max() < 3  # the ground is not

        passes = inferencer.passes
        number = page.locator('#threshold input[type=number]')
        number.fill('0.9')
        number.press('Enter')
        caption(page, r'query one\.png: nothing found')
        assert abs(picture(page)[200:280, 160:240].mean((0, 1)) - np.array(toys.GREEN)).max() < 4
        number.fill('0.7')
        number.press('Enter')
        caption(page, r'query one\.png: leaf 28\.1%')
        assert inferencer.passes == passes == 2

        with page.expect_download() as download:
            page.click('#download')
        with zipfile.ZipFile(download.value.path()) as archive:
            assert json.loads(archive.read('classes.json'))['threshold'] == 0.7
            mask = np.asarray(Image.open(archive.open('masks/query_one.png')))
        assert mask.shape == (240, 320) and mask[120, 100] == 1 and mask[120, 250] == 0

        with page_of(browser, url) as visitor:  # another visitor sees none of it
            visitor.locator('#chips', has_text='No class yet').wait_for()
            assert visitor.locator('#results img').count() == 0
        page.click('#remove')
        page.locator('#chips:not(:has-text("brick"))').wait_for()
    assert not called


@pytest.mark.slow
def test_mistakes_are_told(browser, served, tmp_path):
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image at all')
    with page_of(browser, served[0]) as page:

        def told(text):
            page.locator('.toast-body', has_text=text).last.wait_for()

        page.click('#segment')
        told('a class first')
        show(page, 'leaf', str(broken), toys.write(tmp_path / 'a.png'))
        told('broken.png cannot be read')
        told('Nothing is marked')
        field(page, '#box').fill('1, 2, 3')
        page.click('#add')
        told('four numbers')
        field(page, '#box').fill('110, 70, 200, 170')
        field(page, '#name').fill('')
        page.click('#add')
        told('a name')
        field(page, '#name').fill('leaf')
        page.click('#add')
        page.locator('#chips', has_text='leaf: 1 example').wait_for()
        page.click('#segment')
        told('Drop the images')


def answer(url, method, path, body=None, **headers) -> int:
    """Status of a request."""
    connection = http.client.HTTPConnection(url.split('//')[1], timeout=20)
    connection.request(method, path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def upload(size: int) -> tuple[bytes, dict]:
    """Body and headers of a form that uploads a file."""
    body = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        + b'x' * size
        + b'\r\n--x--\r\n'
    )
    return body, {'Content-Type': 'multipart/form-data; boundary=x'}


def test_the_server_gives_out_its_own_files_only(served, tmp_path):
    url, _ = served
    secret = tmp_path / 'secret.png'
    Image.new('RGB', (4, 4)).save(secret)
    assert answer(url, 'GET', '/') == 200
    for path in ('/etc/passwd', str(secret), __file__, 'https://example.org/a.png'):
        assert answer(url, 'GET', f'/gradio_api/file={path}') == 403
    assert answer(url, 'GET', '/', Host='evil.example') == 421
    assert answer(url, 'GET', '/gradio_api/openapi.json') == 404
    body, headers = upload(1000)
    assert answer(url, 'POST', '/gradio_api/upload', body, **headers) == 200
    body, headers = upload(2 * 2**20)
    assert answer(url, 'POST', '/gradio_api/upload', body, **headers) == 413


def test_it_listens_on_loopback(served):
    port = int(served[0].rsplit(':', 1)[1])
    assert served[0].startswith('http://127.0.0.1:')
    with socket.socket() as probe, pytest.raises(OSError):
        probe.settimeout(5)
        probe.connect(('127.0.0.2', port))  # bound to all addresses, it would answer here too


def test_a_taken_port_is_told(served):
    from web_demo import build_app, serve

    port = int(served[0].rsplit(':', 1)[1])
    with pytest.raises(OSError, match=f'port {port} of 127.0.0.1 .* --port'):
        serve(build_app(served[1]), port=port, block=False)
