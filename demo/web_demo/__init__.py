# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The page behind demo/web.py. Gradio is imported when ``build_app`` or ``serve`` is asked for, not before."""

from .session import Limits, Session

__all__ = ['Limits', 'Session', 'build_app', 'serve']


def __getattr__(name: str):
    if name not in ('build_app', 'serve'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        from . import page, server
    except ImportError as error:
        if (error.name or '').split('.')[0] not in ('gradio', 'starlette'):
            raise
        raise ImportError('the web demo needs gradio: pip install -r requirements/demo.txt', name='gradio') from error
    return page.build_app if name == 'build_app' else server.serve
