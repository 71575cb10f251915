# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Running the page so that it listens where told, serves its own files only and calls nobody."""

import os
from pathlib import Path

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware

from .gate import LOOPBACK, Gate
from .page import CSS, private_folder
from .session import Limits

FONTS = ('system-ui', '-apple-system', 'Segoe UI', 'DejaVu Sans', 'sans-serif')
MONO = ('ui-monospace', 'Consolas', 'DejaVu Sans Mono', 'monospace')


def serve(
    app: gr.Blocks,
    host: str = '127.0.0.1',
    port: int | None = None,
    max_upload_mb: float = 32,
    limits: Limits | None = None,
    block: bool = True,
) -> str:
    """Serve a page of :func:`web_demo.build_app`.

    Args:
        app (gr.Blocks): The page.
        host (str): Address to listen on. Defaults to loopback, so that only this machine reaches it.
        port (int, optional): None takes the first free one from 7860.
        max_upload_mb (float): Largest request, MiB: an upload or a painted image. Defaults to 32.
        limits (Limits, optional): Whose ``max_pixels`` bounds what Pillow decodes.
        block (bool): Return when interrupted (True), or at once with the server in a thread.

    Returns:
        str: Address of the page.

    Raises:
        OSError: When the port is taken.
    """
    # Gradio asks its own page whether it is there; that must not go through a proxy.
    for name in ('NO_PROXY', 'no_proxy'):
        os.environ[name] = ','.join(filter(None, [os.environ.get(name), *LOOPBACK, host]))
    # Pillow refuses more than twice this.
    Image.MAX_IMAGE_PIXELS = (limits or Limits()).max_pixels // 2 + 1
    # Uploads must stay readable wherever the temporary folder lies.
    own = private_folder().resolve()
    blocked = [str(path) for path in (Path.cwd(), Path.home()) if not own.is_relative_to(path.resolve())]
    size = int(max_upload_mb * 2**20)
    gate = Middleware(Gate, max_body=size + 2**16, hosts=LOOPBACK if host in LOOPBACK else None)
    app.queue(max_size=32, api_open=False, default_concurrency_limit=4)
    theme = gr.themes.Default(primary_hue='blue', font=FONTS, font_mono=MONO)
    try:
        _, url, _ = app.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=False,
            quiet=True,
            show_error=True,
            max_file_size=size,
            allowed_paths=[],
            blocked_paths=blocked,
            enable_monitoring=False,
            run_history=False,
            footer_links=[],
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            state_session_capacity=32,
            theme=theme,
            css=CSS,
            app_kwargs=dict(middleware=[gate]),
            prevent_thread_lock=True,
        )
    except OSError as error:
        taken = f'port {port}' if port else 'a port from 7860'
        raise OSError(
            f'{taken} of {host} cannot be opened: it is taken, or {host} is no address of this machine. '
            'Choose with --port and --host.'
        ) from error
    print(f'mmfss web demo: {url}', flush=True)
    if block:
        app.block_thread()
    return url
