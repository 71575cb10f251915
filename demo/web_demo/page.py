# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The page of the web demo. Needs gradio; what it does to images and classes is in session.py."""

import atexit
import functools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

import gradio as gr

from mmfss.utils.notices import collected
from mmfss.visualization.sheet import class_color

from .images import FORMATS, box_around, limit_side, marked_layer, painted, parse_box, read_noted
from .session import Limits, Session
from .uploads import ACCEPTED, find_mark, sort_uploads

MASK, BOX = 'the object', 'corners of a box'
ADD = 'Add example'
PAINT = ('#0078e6', 0.6)  # see-through: what lies below guides the brush
BRUSH = (0, 120, 230, 153)  # the same as RGBA
# A hidden link that the visible button follows once its file is there.
_FOLLOW = "() => setTimeout(() => document.querySelector('#archive')?.click(), 300)"
_SUFFIXES = [f'.{kind.lower()}' for kind in (*FORMATS, 'JPG', 'TIF')]
CSS = """
.gradio-container { width: 100%; max-width: 1180px !important; margin: 0 auto; }
#shots .grid-wrap, #results .grid-wrap { min-height: 0 !important; }
#shots .grid-wrap { max-height: 190px; }
#results .grid-wrap { max-height: 520px; }
@media (max-width: 640px) { #results .grid-container { grid-template-columns: 1fr !important; } }
#said { min-height: 3.2em; }
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
        gr.Blocks: To be handed to :func:`web_demo.serve`.
    """
    private_folder()
    limits, lock = limits or Limits(), Lock()
    on = functools.partial(dict, api_visibility='private')
    # Gradio's own sign of progress, and of an error, would hide the image that is being marked.
    quiet = on(show_progress='hidden')
    model = dict(concurrency_id='model', concurrency_limit=1)
    with gr.Blocks(title='mmfss: few-shot segmentation', analytics_enabled=False, delete_cache=(600, 3600)) as app:
        state = gr.State(None)  # a Session for each open page
        at = _lay_out(limits, threshold)
        example = [at.drop, at.marking, at.editor, at.skip]
        classes = [at.chips, at.known, at.shots, at.chosen]
        app.load(lambda: Session(inferencer, limits, lock), None, state, **quiet)
        at.drop.upload(_told(_load_examples), [state, at.drop, at.name], example, show_progress='minimal', **on())
        at.skip.click(_told(_next_example), [state, at.name], example, **quiet)
        adding = gr.on(
            [at.add.click, at.name.submit], lambda: gr.Button('Adding ...', interactive=False), None, at.add, **quiet
        ).then(
            _told(_add_example),
            [state, at.editor, at.name, at.box, at.meaning],
            [*example, at.box, *classes],
            **quiet,
            **model,
        )
        for after in (adding.success, adding.failure):  # a second `then` is not called after an error
            after(lambda: gr.Button(ADD, interactive=True), None, at.add, **quiet)
        at.remove.click(_told(_remove_class), [state, at.chosen], classes, **quiet)
        at.segment.click(
            _told(functools.partial(_segment, batch_size)),
            [state, at.queries, at.slider],
            [at.results, at.output, at.said],
            show_progress_on=[at.said],
            **on(model),
        )
        at.slider.change(_told(Session.overlays), [state, at.slider], at.results, trigger_mode='always_last', **quiet)
        at.download.click(_told(_pack), [state, at.slider], at.archive, **quiet).success(None, js=_FOLLOW, **on())
    return app


def _lay_out(limits: Limits, threshold: float) -> SimpleNamespace:
    """Place the components; those that take part in events are attributes of the result."""
    gr.Markdown(
        '# Few-shot segmentation\nShow one or a few examples of an object; the model finds it in other '
        'images. Nothing you load leaves the machine that this page runs on.'
    )
    with gr.Row():
        with gr.Column(min_width=320):
            gr.Markdown(
                '### 1. Show the object\nDrop one or more images of it, then paint over it; '
                'annotation files (labelme, COCO, YOLO, CVAT, VOC) may be dropped with them.'
            )
            drop = gr.File(
                file_count='multiple',
                file_types=[*_SUFFIXES, *ACCEPTED],
                height=160,
                show_label=False,
                elem_id='examples',
            )
            with gr.Column(visible=False) as marking:
                editor = gr.ImageEditor(
                    type='pil',
                    show_label=False,
                    height=380,
                    elem_id='editor',
                    canvas_size=(800, 600),
                    sources=(),
                    transforms=(),
                    layers=gr.LayerOptions(disabled=True),
                    buttons=[],
                    brush=gr.Brush(colors=[PAINT], default_color=PAINT, color_mode='fixed'),
                )
                with gr.Row():
                    meaning = gr.Radio(
                        [MASK, BOX], value=MASK, label='Strokes mark', elem_id='meaning', min_width=280, scale=3
                    )
                    box = gr.Textbox(
                        label='Or type a box in pixels',
                        placeholder='left, top, right, bottom',
                        elem_id='box',
                        min_width=200,
                        scale=2,
                    )
                name = gr.Textbox(
                    label='Name of the class (a known one gets one more example)',
                    max_length=40,
                    placeholder='such as gear',
                    elem_id='name',
                )
                add = gr.Button(ADD, variant='primary', elem_id='add')
                skip = gr.Button('Leave this image out', size='sm', elem_id='skip')
            chips = gr.HTML(_chips(None), elem_id='chips', padding=False)
            with gr.Column(visible=False) as known:
                shots = gr.Gallery(
                    show_label=False,
                    columns=4,
                    object_fit='contain',
                    format='jpeg',
                    buttons=[],
                    fit_columns=False,
                    interactive=False,
                    elem_id='shots',
                )
                with gr.Row(equal_height=True):
                    chosen = gr.Dropdown(
                        [], show_label=False, elem_id='chosen', min_width=120, scale=2, container=False
                    )
                    remove = gr.Button('Remove', elem_id='remove', min_width=100, scale=1)
        with gr.Column(min_width=320):
            gr.Markdown('### 2. Find it in other images\nDrop the images to segment.')
            queries = gr.File(
                file_count='multiple', file_types=_SUFFIXES, height=160, show_label=False, elem_id='queries'
            )
            segment = gr.Button('Segment', variant='primary', elem_id='segment')
            said = gr.HTML('The results will be here.', elem_id='said', padding=False)
            with gr.Column(visible=False) as output:
                slider = gr.Slider(
                    0.01,
                    0.99,
                    threshold,
                    step=0.01,
                    elem_id='threshold',
                    label='Threshold: lower marks more, higher marks less',
                )
                results = gr.Gallery(
                    show_label=False,
                    columns=2,
                    object_fit='contain',
                    format='jpeg',
                    fit_columns=False,
                    interactive=False,
                    buttons=['fullscreen'],
                    elem_id='results',
                )
                download = gr.Button('Download (zip)', elem_id='download')
                archive = gr.DownloadButton(visible='hidden', elem_id='archive')
    names = (
        'drop marking editor meaning box name add skip chips known shots chosen remove queries segment said '
        'output slider results download archive'
    )
    here = locals()
    return SimpleNamespace(**{name: here[name] for name in names.split()})


def _load_examples(session: Session, paths: list[str] | None, name: str) -> list:
    images, marks, notes = sort_uploads(paths or [])
    session.pending += images
    session.marks = [*marks, *session.marks]
    for note in notes:
        gr.Warning(note)
    return _next_example(session, name)


def _next_example(session: Session, name: str = '') -> list:
    """Show the next upload to be marked, or the field to drop some; what a dropped annotation marks is painted."""
    session.example, path = None, ''
    while session.pending and session.example is None:
        path = session.pending.pop(0)
        session.example, notes = read_noted(path, Path(path).name, session.limits.max_pixels)
        for note in notes:
            gr.Warning(note)
    waiting = f' ({len(session.pending)} more to come)' if session.pending else ''
    drawn = None
    if session.example is not None:
        # At a size at which the brush is neither too thick nor too thin.
        image = limit_side(session.example, session.limits.max_side, 640)
        drawn = dict(background=image, layers=[], composite=image)
        mask, note = find_mark(session.marks, Path(path).name, session.example.shape[:2], ' '.join(name.split()))
        if note:
            gr.Warning(note)
        if mask is not None:
            drawn['layers'] = [marked_layer(mask, image.shape[:2], BRUSH)]
    return [
        gr.File(None, visible=drawn is None),
        gr.Column(visible=drawn is not None),
        drawn,
        f'Leave this image out{waiting}',
    ]


def _add_example(session: Session, drawn: dict | None, name: str, box: str, meaning: str) -> list:
    if session.example is None:
        raise ValueError('Drop an image first, then mark the object on it.')
    size = session.example.shape[:2]
    if box.strip():
        with collected() as notes:
            annotation = parse_box(box, size)
        for note in notes:
            gr.Warning(note)
    else:
        annotation = painted(drawn['layers'] if drawn else [], size)
        if meaning == BOX and annotation.any():
            annotation = box_around(annotation)
    session.add_shot(name, session.example, annotation)
    return [*_next_example(session, name), '', *_class_views(session)]


def _remove_class(session: Session, name: str | None) -> list:
    session.remove(name)
    return _class_views(session)


def _segment(
    batch_size: int,
    session: Session,
    paths: list[str] | None,
    threshold: float,
    progress=gr.Progress(),  # noqa: B008, gradio looks for it here
) -> tuple:
    files = [(Path(path).name, path) for path in paths or []]
    start = time.perf_counter()
    progress((0, len(files)), unit='images')
    for i, note in enumerate(session.segment(files, batch_size), 1):
        if note:
            gr.Warning(note)
        progress((i, len(files)), unit='images')
    count, seconds = len(session.results), time.perf_counter() - start
    return (
        session.overlays(threshold),
        gr.Column(visible=True),
        f'{count} image{"s" * (count > 1)} segmented in {seconds:.1f} s. Click one to enlarge it.',
    )


def _pack(session: Session, threshold: float) -> str:
    return str(session.write_zip(threshold))


def _class_views(session: Session) -> list:
    classes = list(session.classes.values())
    pictures = [(picture, f'{c.name} {i}') for c in classes for i, picture in enumerate(c.pictures, 1)]
    return [
        _chips(session),
        gr.Column(visible=bool(classes)),
        pictures,
        gr.Dropdown([c.name for c in classes], value=classes[-1].name if classes else None),
    ]


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


def _chips(session: Session | None) -> str:
    if session is None or not session.classes:
        return '<div class="chips">No class yet.</div>'
    items = ''.join(
        '<span><i style="background: rgb({})"></i>{}: {} example{}</span>'.format(
            ', '.join(map(str, class_color(c.color))), escape(c.name), len(c.images), 's' * (len(c.images) > 1)
        )
        for c in session.classes.values()
    )
    return f'<div class="chips">{items}</div>'


@functools.cache
def private_folder() -> Path:
    """Where gradio keeps uploads and pictures in this process: no other user can read it, and it goes at the end.

    Gradio's own choice is a folder that all users of the machine share. Components note it when they are made.
    """
    folder = tempfile.TemporaryDirectory(prefix='mmfss_web_')
    atexit.register(folder.cleanup)
    os.environ['GRADIO_TEMP_DIR'] = folder.name
    return Path(folder.name)
