# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Evaluation presets: ``configs/_base_/protocols/<name>.py`` onto the test data of a config.

A preset says how episodes are drawn, how images are resized, at which size the truth is, what 255 in a support means
and which folds it is about. It never touches training or validation: the same weights may be tested under several.
"""

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmfss.datasets.pipelines import ANNOTATION, GEOMETRY, IMAGE, OTHER, PACKING, WEAK, step_kind
from mmfss.registry import DATASETS, TASK_UTILS
from mmfss.utils.configs import gives_episodes, resolve_config

_FIELDS = {'name', 'sampling', 'geometry', 'ground_truth', 'support_ignore', 'requires', 'datasets'}
_DEFAULTS = {IMAGE: 'LoadFewShotImage', ANNOTATION: 'LoadFewShotAnnotations', PACKING: 'PackEpisodeInputs'}


def apply_protocol(cfg: Config, preset: str | None = None, size: int | None = None, *, quiet: bool = False) -> None:
    """Let ``cfg.test_dataloader`` follow a preset; does nothing when neither option nor config names one.

    The preset brings the geometry, the size of the truth and the place where annotations are loaded; every other step
    of the config's pipelines stays where it is (:func:`arrange`). ``shots``, ``support_control``,
    ``support_annotation``, ``episodes_file`` and the ``min_images`` of the sampling stay: they belong to the question
    and to the data. So does the size: a network made for other images than the published ones names its own with the
    config field ``protocol_size``.

    Args:
        cfg (Config): A stage-2 config; ``test_dataloader.dataset`` is an EpisodicDataset or one of several classes.
        preset (str, optional): Name of a preset or path of a file like them; the config's own ``test_protocol`` else.
        size (int, optional): Side of the network's input; the config's ``protocol_size`` else, the preset's at last.
        quiet (bool): Say nothing of another size than the published one, where the call is only a check. Defaults to
            False.

    Raises:
        FileNotFoundError: When there is no such preset.
        ValueError: When it does not fit the config.
    """
    if preset is not None:
        cfg.test_protocol = read_preset(preset)
    elif cfg.get('test_protocol') is None:
        return
    spec = copy.deepcopy(cfg.test_protocol.to_dict())
    name = spec.get('name')
    if unknown := set(spec) - _FIELDS or {'name', 'sampling', 'geometry'} - set(spec):
        raise ValueError(
            f'test_protocol {name}: the fields are {sorted(_FIELDS)}; wrong or missing: {sorted(unknown)}.'
        )
    loader = copy.deepcopy(cfg.get('test_dataloader'))
    if loader is None or not gives_episodes(loader.dataset):
        raise ValueError(
            f'The protocol {name} is for episodes: test_dataloader.dataset of {cfg.filename} is no '
            'EpisodicDataset (a stage-1 config?).'
        )
    _settle_data_set(spec, loader.dataset.dataset, cfg.filename)
    published = spec['geometry']['size']
    spec['geometry']['size'] = size = size or cfg.get('protocol_size') or published
    if size != published and not quiet:
        print_log(
            f'Protocol {name} at the size of this network, {size}, instead of the published {published}.', 'current'
        )
    loader.dataset.protocol = _sampling(spec, loader.dataset.get('protocol') or {})
    loader.dataset.query_pipeline, loader.dataset.support_pipeline = _pipelines(spec, loader.dataset)
    cfg.test_dataloader = loader


def presets() -> list[str]:
    """Names of the shipped presets: the files of ``configs/_base_/protocols``."""
    return sorted(path.stem for path in resolve_config('configs/_base_/protocols/bam.py').parent.glob('*.py'))


def read_preset(name: str) -> ConfigDict:
    """The ``test_protocol`` of a shipped preset, or of a file."""
    path = name if name.endswith('.py') else f'configs/_base_/protocols/{name}.py'
    try:
        found = Config.fromfile(resolve_config(path)).get('test_protocol')
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'There is no protocol {name}: choose one of {", ".join(presets())}, or name a file that '
            f'sets `test_protocol`. {error}'
        ) from error
    if found is None:
        raise ValueError(f'{path} sets no `test_protocol`: see configs/_base_/protocols/bam.py.')
    return found


def _settle_data_set(spec: dict, source: ConfigDict, filename: str) -> None:
    """Take over what differs on this data set, and refuse other folds than the protocol's.

    ``datasets`` of a preset is class -> fields; a data set takes what is said of its class and of the classes above it,
    what is said of its own last.
    """
    kind = DATASETS.get(source.get('type')) if isinstance(source.get('type'), str) else source.get('type')
    places = {cls: place for place, cls in enumerate(inspect.getmro(kind) if inspect.isclass(kind) else ())}
    given = []
    for name, fields in (spec.pop('datasets', None) or {}).items():
        cls = DATASETS.get(name)
        if cls is None or set(fields) - _FIELDS:
            raise ValueError(
                f'test_protocol {spec["name"]}: datasets.{name} must be a registered data set with fields among '
                f'{sorted(_FIELDS)}.'
            )
        if cls in places:
            given.append((places[cls], fields))
    for _, fields in sorted(given, key=lambda pair: -pair[0]):
        for key, value in fields.items():
            spec[key] = {**(spec.get(key) or {}), **value} if isinstance(value, dict) else value
    requires = spec.pop('requires', None)
    if not requires:
        return
    dataset = DATASETS.build({**source, 'lazy_init': True})
    for key, value in requires.items():
        own = getattr(dataset, key, None)
        if own != value:
            raise ValueError(
                f'The protocol {spec["name"]} is defined on {type(dataset).__name__} with {key}={value!r}, but '
                f'{filename} has {key}={own!r}: its novel classes are others. Use the protocol `balanced`, or a config '
                f'that was trained with {key}={value!r}.'
            )


def _sampling(spec: dict, own: dict) -> ConfigDict:
    sampling = dict(spec['sampling'])
    if TASK_UTILS.get(sampling.get('type')) is None:
        raise ValueError(f'test_protocol {spec["name"]}: there is no sampling {sampling.get("type")!r}.')
    if own.get('min_images'):
        sampling.setdefault('min_images', own['min_images'])
    return ConfigDict(sampling)


def _pipelines(spec: dict, dataset: ConfigDict) -> tuple[list, list]:
    """Query and support pipeline of a preset."""
    truth, ignore = spec.get('ground_truth', 'original'), spec.get('support_ignore', 'ignore')
    for key, value, allowed in (
        ('ground_truth', truth, ('original', 'network')),
        ('support_ignore', ignore, ('ignore', 'background')),
    ):
        if value not in allowed:
            raise ValueError(f'test_protocol {spec["name"]}: {key} is {value!r}; it must be one of {allowed}.')

    at_network_size = truth == 'network'
    query = arrange(
        dataset.get('query_pipeline', ()), spec['geometry'], labels_first=at_network_size, scored_here=at_network_size
    )
    support = arrange(dataset.get('support_pipeline', ()), spec['geometry'], labels_first=True)
    for step in support:
        if step_kind(step) == ANNOTATION:
            step['keep_ignore'] = ignore == 'ignore'
    return query, support


def arrange(pipeline: Sequence[dict], geometry: dict, *, labels_first: bool, scored_here: bool = False) -> list[dict]:
    """A test pipeline with another geometry; whatever a protocol says nothing about stays in its place.

    Args:
        pipeline (Sequence[dict]): Configs of the steps. Their geometry is replaced; where there is none, the new one
            comes behind all other steps.
        geometry (dict): Config of the new one.
        labels_first (bool): Whether annotations are loaded before the geometry, which then moves them. Else they come
            behind every step that follows the geometry, at the image's original size.
        scored_here (bool): Whether scores are judged at the size that the image has in the end.

    Returns:
        list[dict]: The steps, copied.
    """
    kinds = [step_kind(step) for step in pipeline]
    first = {kind: dict(step) for step, kind in reversed(list(zip(pipeline, kinds, strict=True)))}
    image, labels, pack = (first.get(kind) or dict(type=name) for kind, name in _DEFAULTS.items())
    middle = kinds.index(GEOMETRY) if GEOMETRY in kinds else len(kinds)
    place = kinds.index(ANNOTATION) if ANNOTATION in kinds else middle

    def own(start: int, stop: int) -> list[dict]:
        kept = zip(pipeline[start:stop], kinds[start:stop], strict=True)
        return [dict(step) for step, kind in kept if kind in (OTHER, WEAK)]

    if labels_first:
        place = min(place, middle)
        steps = [image, *own(0, place), labels, *own(place, middle), dict(geometry), *own(middle, len(kinds))]
    else:
        place = place if place > middle else len(kinds)
        steps = [image, *own(0, middle), dict(geometry), *own(middle, place), labels, *own(place, len(kinds))]
    return [*steps, *([dict(type='ScoreAtNetworkSize')] if scored_here else []), pack]


def protocol_name(preset: str) -> str:
    """Short name of a preset given by name or file, for folders and tables."""
    return Path(preset).stem
