# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Whether a JSON file is a whole report: results are edited, merged and cut by hand and by scripts."""

from types import NoneType
from typing import Any

_ANY = '*'  # each key of a dict
_BEYOND = 2**63  # JSON's whole numbers may be too large for a float
_NUMBER, _MAYBE = (int, float), (int, float, NoneType)
_TEXT, _WHOLE = (str, NoneType), (int, NoneType)
_SHAPE = dict(
    protocol=_TEXT,
    support_control=_TEXT,
    episodes_hash=_TEXT,
    fold=_WHOLE,
    shots=_WHOLE,
    num_episodes=(int,),
    summary={_ANY: {'mIoU': _MAYBE, 'FB-IoU': _MAYBE, _ANY: (*_MAYBE, list)}},
    per_class=[{'name': (str,), 'episodes': (int,), 'IoU': {_ANY: _MAYBE}}],
    episodes=[dict(run=(int,), episode=(int,), class_id=(int,), query=_TEXT, counts={_ANY: [_NUMBER]})],
)


def wrong_part(report: dict) -> str | None:
    """The first part of a report that is missing or of another kind; None: it is whole.

    Args:
        report (dict): What the JSON holds, see :func:`mmfss.evaluation.summarise`.
    """
    if (wrong := _wrong(report, _SHAPE, '')) is not None:
        return wrong
    if not report['summary']:
        return 'summary is empty'
    for output, entry in report['summary'].items():
        if lists := [key for key, value in entry.items() if isinstance(value, list) and not key.endswith('_ci')]:
            return f'summary.{output}.{lists[0]} is a list'
    for place, row in enumerate(report['episodes']):
        for output in report['summary']:
            if len(row['counts'].get(output, ())) != 4:
                return f'episodes[{place}].counts has no four numbers for {output}'
    return None


def _wrong(value: Any, shape: dict | list | tuple, where: str) -> str | None:
    """Compare with a shape: a dict of shapes by key, a list of one shape, or a tuple of types."""
    kinds = shape if isinstance(shape, tuple) else (type(shape),)
    if not isinstance(value, kinds):
        return f'{where or "it"} is a {type(value).__name__}'
    if isinstance(value, int) and abs(value) >= _BEYOND:
        return f'{where} is no count or score'
    if isinstance(shape, list):
        parts = [(item, shape[0], f'{where}[{place}]') for place, item in enumerate(value)]
    elif isinstance(shape, dict):
        named = {key: part for key, part in shape.items() if key != _ANY}
        if missing := [key for key in named if key not in value]:
            return f'{where or "it"} has no {missing[0]}'
        free = shape.get(_ANY)
        parts = [(value[key], part, f'{where}.{key}'.strip('.')) for key, part in named.items()]
        if free is not None:
            parts += [(item, free, f'{where}.{key}') for key, item in value.items() if key not in named]
    else:
        return None
    return next((wrong for part in parts if (wrong := _wrong(*part)) is not None), None)
