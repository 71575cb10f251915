# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The page of the web demo. Needs gradio; what it does to images and classes is in session.py."""

import functools
import logging
from collections.abc import Callable
from html import escape
from pathlib import Path
from threading import Lock

import gradio as gr

from mmfss.visualization.sheet import class_color

from .images import FORMATS, box_around, check_size, painted, parse_box, read_image, shrink
from .session import Limits, Session

MASK, BOX = 'the object', 'a box around it'
PAINT = ('#0078e6', 0.6)  # see-through: what lies below guides the brush
# A hidden link that the visible button follows once its file is there.
_FOLLOW = "() => setTimeout(() => document.querySelector('#archive')?.click(), 300)"
_SUFFIXES = [f'.{kind.lower()}' for kind in (*FORMATS, 'JPG', 'TIF')]
CSS = """
.gradio-container { max-width: 1180px !important; margin: 0 auto; }
.chips span { display: inline-flex; align-items: center; gap: .4em; margin: .15em .9em .15em 0; }
.chips i { width: .9em; height: .9em; border-radius: .2em; display: inline-block; }
"""


def build_app(
    inferencer,
    limits: Limits | None = None,
    threshold: float = 0.5,
    batch_size: int = 4,
) -> gr.Blocks:
    """Build the page: show classes, segment images, see and download the results.

    Args:
        inferencer (FewShotInferencer): The model; all visitors share it, one at a time.
        limits (Limits, optional): What one visitor may use.
        threshold (float): Where the slider stands at first. Defaults to 0.5.
        batch_size (int): Queries in one forward pass. Defaults to 4.

    Returns:
        gr.Blocks: To be handed to :func:`mmfss.apis.web.serve`.
    """
    limits, lock = limits or Limits(), Lock()
    with gr.Blocks(title='mmfss: few-shot segmentation', analytics_enabled=False, delete_cache=(600, 3600)) as app:
        state = gr.State(None)  # a Session for each open page
        gr.Markdown('# Few-shot segmentation\nShow one or a few examples of an object; the model finds it in other '
                    'images. Nothing you load leaves the machine that this page runs on.')
        with gr.Row():
            with gr.Column(min_width=320):
                gr.Markdown('### 1. Show the object')
                editor = gr.ImageEditor(
                    type='pil', image_mode='RGBA', show_label=False, height=420, elem_id='editor',
                    sources=('upload', 'clipboard'), transforms=(), layers=gr.LayerOptions(disabled=True), buttons=[],
                    placeholder='Drop an image here\nor click to choose one',
                    brush=gr.Brush(colors=[PAINT], default_color=PAINT, color_mode='fixed'))
                several = gr.UploadButton('Load several images, to mark one after the other', file_count='multiple',
                                          file_types=_SUFFIXES, size='sm', elem_id='several')
                with gr.Row():
                    meaning = gr.Radio([MASK, BOX], value=MASK, label='The paint covers', elem_id='meaning',
                                       min_width=280, scale=3)
                    box = gr.Textbox(label='Or type a box in pixels', placeholder='left, top, right, bottom',
                                     elem_id='box', min_width=200, scale=2)
                name = gr.Textbox(label='Name of the class (a known one gets one more example)', max_length=40,
                                  placeholder='such as gear', elem_id='name')
                add = gr.Button('Add example', variant='primary', elem_id='add')
                chips = gr.HTML(_chips(None), elem_id='chips', padding=False)
                with gr.Group(visible=False) as known:
                    shots = gr.Gallery(show_label=False, columns=4, height=170, object_fit='contain', format='jpeg',
                                       interactive=False, buttons=[], elem_id='shots')
                    with gr.Row(equal_height=True):
                        chosen = gr.Dropdown([], show_label=False, elem_id='chosen', min_width=120, scale=2,
                                             container=False)
                        remove = gr.Button('Remove class', elem_id='remove', min_width=140, scale=1)
            with gr.Column(min_width=320):
                gr.Markdown('### 2. Find it in other images')
                queries = gr.File(file_count='multiple', file_types=_SUFFIXES, height=160, show_label=False,
                                  elem_id='queries')
                segment = gr.Button('Segment', variant='primary', elem_id='segment')
                with gr.Column(visible=False) as output:
                    slider = gr.Slider(0.01, 0.99, threshold, step=0.01, elem_id='threshold',
                                       label='Threshold: lower marks more, higher marks less')
                    results = gr.Gallery(show_label=False, columns=2, height=430, object_fit='contain', format='jpeg',
                                         interactive=False, buttons=['fullscreen'], elem_id='results')
                    download = gr.Button('Download masks and pictures (zip)', elem_id='download')
                    archive = gr.DownloadButton(visible='hidden', elem_id='archive')

        def new_session() -> Session:
            return Session(inferencer, limits, lock)

        def class_views(session: Session) -> list:
            classes = list(session.classes.values())
            pictures = [(picture, f'{c.name} {i}') for c in classes for i, picture in enumerate(c.pictures, 1)]
            return [_chips(session), gr.Group(visible=bool(classes)), pictures,
                    gr.Dropdown([c.name for c in classes], value=classes[-1].name if classes else None)]

        def load_several(session, paths):
            session.pending += paths or []
            return _next_example(session)

        def add_example(session, drawn, class_name, box_text, meaning_of):
            image, annotation = _read_example(drawn, box_text, meaning_of, limits)
            session.add_shot(class_name, image, annotation)
            return [_next_example(session), '', *class_views(session)]

        def remove_class(session, class_name):
            session.remove(class_name)
            return class_views(session)

        def segment_files(session, paths, value, progress=gr.Progress()):  # noqa: B008, gradio looks for it here
            files = [(Path(path).name, path) for path in paths or []]
            done = 0
            progress((0, len(files)), unit='images')
            for note in session.segment(files, batch_size):
                if note:
                    gr.Warning(note)
                done += 1
                progress((done, len(files)), unit='images')
            return session.overlays(value), gr.Column(visible=True)

        def view(session, value):
            return session.overlays(value)

        def pack(session, value):
            return str(session.write_zip(value))

        on = functools.partial(dict, api_visibility='private')
        model = dict(concurrency_id='model', concurrency_limit=1)
        views = [chips, known, shots, chosen]
        app.load(new_session, None, state, **on())
        several.upload(_told(load_several), [state, several], editor, **on())
        gr.on([add.click, name.submit], _told(add_example), [state, editor, name, box, meaning],
              [editor, box, *views], **on(model))
        remove.click(_told(remove_class), [state, chosen], views, **on())
        segment.click(_told(segment_files), [state, queries, slider], [results, output], **on(model))
        slider.change(_told(view), [state, slider], results, trigger_mode='always_last', show_progress='hidden', **on())
        download.click(_told(pack), [state, slider], archive, **on()).success(None, js=_FOLLOW, **on())
    return app


def _told(function: Callable) -> Callable:
    """``function(session, ...)`` whose errors the visitor gets to read."""

    @functools.wraps(function)  # gradio looks at the signature for gr.Progress
    def wrapper(session, *args, **kwargs):
        if session is None:
            raise gr.Error('This page was open for too long. Load it again.', print_exception=False)
        try:
            return function(session, *args, **kwargs)
        except (ValueError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from error
        except gr.Error:
            raise
        except Exception as error:
            logging.getLogger(__name__).exception('web demo')
            raise gr.Error(f'This did not work: {error}. The terminal of the demo shows more.') from error

    return wrapper


def _read_example(drawn: dict | None, box_text: str, meaning: str, limits: Limits) -> tuple:
    """Image (H, W, 3) uint8 RGB and annotation from what the editor and the fields beside it hold."""
    if not drawn or drawn['background'] is None:
        raise ValueError('Load an image first: drop it on the field, or click there.')
    background = drawn['background']
    check_size(background.size, 'The image', limits.max_pixels)
    image = read_array(background)
    size = image.shape[:2]
    if box_text.strip():
        return image, parse_box(box_text, size)
    mask = painted(drawn['layers'], size)
    if meaning == BOX and mask.any():
        return image, box_around(mask)
    return image, mask


def read_array(image):
    """(H, W, 3) uint8 RGB of a PIL image, on white where it is transparent."""
    import numpy as np
    from PIL import Image
    canvas = Image.new('RGBA', image.size, 'white')
    canvas.alpha_composite(image.convert('RGBA'))
    return np.asarray(canvas.convert('RGB'))


def _next_example(session: Session) -> dict | None:
    """Editor value: the next of several examples that were loaded at once, or an empty editor."""
    while session.pending:
        path = session.pending.pop(0)
        try:
            image = read_image(path, Path(path).name, session.limits.max_pixels)
        except ValueError as error:
            gr.Warning(str(error))
            continue
        image = shrink(image, session.limits.max_side)
        return dict(background=image, layers=[], composite=image)
    return None


def _chips(session: Session | None) -> str:
    if session is None or not session.classes:
        return '<div class="chips">No class yet.</div>'
    items = ''.join(
        '<span><i style="background: rgb({})"></i>{}: {} example{}</span>'.format(
            ', '.join(map(str, class_color(c.color))), escape(c.name), len(c.images), 's' * (len(c.images) > 1))
        for c in session.classes.values())
    return f'<div class="chips">{items}</div>'
