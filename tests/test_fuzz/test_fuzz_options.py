# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Options and coordinates: a config that was changed as asked, or a message that names the option or the image."""

import argparse
import functools
import math
import sys
from pathlib import Path

import numpy as np
from fuzzing import Refusal, attempt, attempt_options
from helpers import load_script
from hypothesis import example, given
from hypothesis import strategies as st
from mmengine.config import Config
from mutations import NUMBERS, TEXTS, VALUES, places

from mmfss.apis.support_masks import support_mask
from mmfss.engine.cli import add_episode_options, add_run_options, load_config
from mmfss.engine.options import merge_options, parse_options

REPO = Path(__file__).parents[2]
CONFIGS = ('msanet/r50_pascal_1shot', 'pspnet/r50_pascal', 'prototype/lite0_pascal')
IMAGE = 'the image a.jpg'


@functools.cache
def shipped(name: str) -> Config:
    return Config.fromfile(REPO / 'configs' / f'{name}.py')


@functools.cache
def keys(name: str) -> list[str]:
    """The dotted names of all fields of a config."""
    return ['.'.join(map(str, path)) for path in places(shipped(name).to_dict()) if path]


LITERALS = st.one_of(
    NUMBERS.map(str),
    TEXTS.filter(lambda text: '\ud800' not in text),
    st.sampled_from(
        [
            '[1,2',
            '(1,2)',
            '[(1,2)]',
            '{}',
            'None',
            'True',
            '"a',
            "'",
            '[[',
            ']',
            '=',
            ',',
            'dict(a=1)',
            '[]',
            '()',
            '((((',
            '__import__("os")',
            '{"a":1}',
            '%',
            '{{',
            '$X',
            '{{_base_.x}}',
        ]
    ),
    st.text(max_size=10),
)


@st.composite
def option_texts(draw, name: str) -> str:
    """KEY=VALUE with a key of a config, often misspelt."""
    key = draw(st.sampled_from(keys(name)))
    change = draw(st.sampled_from(['none', 'none', 'letter', 'part', 'longer', 'cut', 'any', 'force']))
    if change == 'letter':
        at = draw(st.integers(0, len(key)))
        key = key[:at] + draw(st.sampled_from(list('._x0-+ '))) + key[at + 1 :]
    elif change == 'part':
        parts = key.split('.')
        parts[draw(st.integers(0, len(parts) - 1))] = draw(
            st.sampled_from(['type', '0', '-1', '99', '_delete_', '_scope_', '', 'x'])
        )
        key = '.'.join(parts)
    elif change == 'longer':
        key += draw(st.sampled_from(['.x', '.0', '.type', '._delete_', '..', '.a.b.c']))
    elif change == 'cut':
        key = key[: draw(st.integers(0, len(key)))]
    elif change == 'any':
        key = draw(st.text(max_size=20))
    elif change == 'force':
        key = '+' + key
    return f'{key}={draw(LITERALS)}' if draw(st.integers(0, 19)) else key


@given(data=st.data(), name=st.sampled_from(CONFIGS))
def test_fields_of_configs(data, name):
    texts = data.draw(st.lists(option_texts(name), min_size=1, max_size=3))
    cfg = Config(shipped(name).to_dict())
    parser = argparse.ArgumentParser()
    options = attempt_options(lambda: parse_options(texts, parser), '--cfg-options')
    if not isinstance(options, Refusal):
        merged = attempt(lambda: merge_options(cfg, options), '--cfg-options')
        assert isinstance(merged, Refusal) or set(merged) == {key.removeprefix('+') for key in options}


@given(
    options=st.lists(
        st.tuples(
            st.sampled_from(
                [
                    '--fold',
                    '--shots',
                    '--candidate-area',
                    '--protocol',
                    '--support-control',
                    '--support-annotation',
                    '--episodes-file',
                    '--launcher',
                    '--local_rank',
                    '--data-root',
                    '--work-root',
                    '--foldd',
                ]
            ),
            NUMBERS.map(str)
            | st.sampled_from(['0', '1', '2', '3', '4', 'bam', 'base', 'box', '', 'x.py', '-', '--', '../x']),
        ),
        max_size=3,
    )
)
@example(options=[('--data-root', '')])  # KeyError out of mmengine
def test_options_of_runs(options):
    import os

    def read():
        parser = argparse.ArgumentParser()
        parser.add_argument('config')
        add_run_options(parser)
        add_episode_options(parser)
        return load_config(
            parser.parse_args(['configs/msanet/r50_pascal_1shot.py', *(w for pair in options for w in pair)]), parser
        )

    before = dict(os.environ)
    try:
        read_ = attempt_options(
            read, *(option for option, _ in options), *(value for _, value in options), 'unrecognized arguments'
        )
        assert isinstance(read_, Refusal | Config)
    finally:
        os.environ.clear()
        os.environ.update(before)


TOOLS = """
    cross_validate analysis_tools/analyze_results analysis_tools/browse_episodes
    analysis_tools/check_parity analysis_tools/compare_results analysis_tools/episodes
    analysis_tools/folder_benchmark dataset_converters/annotations dataset_converters/coco20i
    dataset_converters/pascal5i dataset_converters/verify deployment/export
""".split()


@functools.cache
def tool(name: str):
    """A tool as a module, and the options that its help lists."""
    sys.path.insert(0, str((REPO / 'tools' / name).parent))
    try:
        return load_script(REPO / 'tools' / f'{name}.py')
    finally:
        sys.path.pop(0)


WORDS = st.one_of(
    NUMBERS.map(str),
    st.sampled_from(
        [
            '--folds',
            '--shots',
            '--gpus',
            '--out',
            '--workers',
            '--images',
            '--layout',
            '--labels',
            '--device',
            '--episodes',
            '--protocol',
            '--seed',
            '--overlap',
            '--crowd',
            '--skip',
            '--cfg-options',
            '--protocols',
            '--size',
            '--opset',
            '--train-images',
            '-',
            '--',
            '-x',
            '',
            'a',
            'configs/msanet/r50_pascal_1shot.py',
            'none',
            'a=b',
            '[',
            '\0',
        ]
    ),
)


@given(name=st.sampled_from(TOOLS), words=st.lists(WORDS, max_size=6))
@example(name='cross_validate', words=[''])  # ValueError out of pathlib
def test_the_command_lines_of_tools(name, words):
    module = tool(name)
    attempt_options(lambda: module.parse_args(words), '--', 'argument', 'config', 'usage', *filter(None, words))


segment = functools.cache(lambda: load_script(REPO / 'demo' / 'segment.py'))
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS).map(lambda p: f'{p[0]},{p[1]}') | LITERALS, max_size=5).map(' '.join)


@given(
    kind=st.sampled_from(['--box', '--polygon', '--points']),
    numbers=st.lists(NUMBERS.map(str) | LITERALS, min_size=4, max_size=4),
    pairs=PAIRS,
    more=st.lists(
        WORDS
        | st.sampled_from(
            ['--threshold', '--batch-size', '--max-megapixels', '--mask-value', '--label', '--name', '--format']
        ),
        max_size=3,
    ),
)
def test_the_command_line_of_the_demo(kind, numbers, pairs, more):
    words = ['m', 'none', 'q.jpg', '--out', 'o', kind, 'a.jpg', *(numbers if kind == '--box' else [pairs]), *more]
    args = attempt_options(lambda: segment().parse_args(words), '--', 'argument', 'usage', 'CONFIG')
    if not isinstance(args, Refusal):
        for annotation in args.classes[0].masks:
            if isinstance(annotation, dict):
                check_labels(annotation)


def check_labels(annotation, size=(30, 40)):
    labels = attempt(lambda: support_mask(annotation, size, IMAGE), IMAGE, typed=True)
    if not isinstance(labels, Refusal):
        assert labels.shape == size and labels.dtype == np.uint8 and (labels == 1).any()
    return labels


SCALARS = st.one_of(
    NUMBERS,
    st.floats(0, 40),
    st.integers(0, 40),
    st.sampled_from([np.float32(3), np.int64(7), np.nan, np.bool_(True), '5', None, True, 1j, [1]]),
)
POINTS = st.lists(st.lists(SCALARS, min_size=2, max_size=2) | st.tuples(SCALARS, SCALARS) | VALUES, max_size=6)


@given(
    annotation=st.one_of(
        st.fixed_dictionaries(dict(box=st.lists(SCALARS, max_size=5) | VALUES)),
        st.fixed_dictionaries(dict(polygon=POINTS | st.lists(POINTS, max_size=3) | VALUES)),
        st.fixed_dictionaries(dict(points=POINTS | VALUES), optional=dict(radius=SCALARS | VALUES)),
        st.fixed_dictionaries(
            {}, optional=dict(box=SCALARS, polygon=SCALARS, points=SCALARS, radius=SCALARS, mask=SCALARS, x=SCALARS)
        ),
    ),
    size=st.sampled_from([(30, 40), (1, 1), (1, 300), (300, 1), (250, 250)]),
)
@example(annotation=dict(box=[0, 0, 10**400, 5]), size=(30, 40))  # OverflowError
@example(annotation=dict(polygon=[{'a': 1}]), size=(30, 40))  # KeyError
@example(annotation=dict(points=[[1, 1]], radius=10**400), size=(30, 40))
@example(annotation=dict(polygon=[[0, 0], [1e-300, 1], [5, 5]]), size=(30, 40))
def test_coordinates_in_python(annotation, size):
    check_labels(annotation, size)


@given(
    kind=st.sampled_from(['<f4', '<f8', '<i8', 'O', '<U3', '?', 'c8']),
    shape=st.sampled_from([(4,), (3, 2), (3, 1, 2), (2, 3, 2), (0, 2), (), (5,)]),
    fill=st.sampled_from([0, 5, 1e30, math.nan]),
    key=st.sampled_from(['box', 'polygon', 'points']),
)
def test_coordinates_as_arrays(kind, shape, fill, key):
    array = np.asarray(np.arange(math.prod(shape)).reshape(shape) * 3, kind)
    if array.size and array.dtype.kind in 'fO':
        array.reshape(-1)[0] = fill
    check_labels({key: array})
