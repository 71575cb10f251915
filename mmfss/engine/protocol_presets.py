# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Evaluation presets: ``configs/_base_/protocols/<name>.py`` onto the test data of a config.

A preset says how episodes are drawn, how images are resized, at which size the truth is, what 255 in a support means
and which folds it is about. It never touches training or validation: the same weights may be tested under several.
"""

import copy
import inspect
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from mmfss.datasets import COCO20iDataset
from mmfss.registry import DATASETS, TASK_UTILS
from mmfss.utils.configs import resolve_config, type_name

PRESETS = ('bam', 'pfenet', 'hdmnet', 'hsnet', 'balanced')
_FIELDS = {'name', 'sampling', 'geometry', 'ground_truth', 'support_ignore', 'coco_scheme', 'coco'}


def apply_protocol(cfg: Config, preset: str | None = None, size: int | None = None) -> None:
    """Let ``cfg.test_dataloader`` follow a preset; does nothing when neither option nor config names one.

    The pipelines of the test data are made anew from ``LoadFewShotImage`` and ``LoadFewShotAnnotations`` as the config
    has them. ``shots``, ``support_control``, ``support_annotation``, ``episodes_file`` and the ``min_images`` of the
    sampling stay: they belong to the question and to the data. So does the size: a network made for other images than
    the published ones names its own with the config field ``protocol_size``.

    Args:
        cfg (Config): A stage-2 config; ``test_dataloader.dataset`` is an EpisodicDataset.
        preset (str, optional): Name of a preset or path of a file like them; the config's own ``test_protocol`` else.
        size (int, optional): Side of the network's input; the config's ``protocol_size`` else, the preset's at last.

    Raises:
        FileNotFoundError: There is no such preset.
        ValueError: It does not fit the config.
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
    if loader is None or type_name(loader.dataset) != 'EpisodicDataset':
        raise ValueError(
            f'The protocol {name} is for episodes: test_dataloader.dataset of {cfg.filename} is no '
            'EpisodicDataset (a stage-1 config?).'
        )
    _settle_data_set(spec, loader.dataset.dataset, cfg.filename)
    published = spec['geometry']['size']
    spec['geometry']['size'] = size = size or cfg.get('protocol_size') or published
    if size != published:
        print_log(
            f'Protocol {name} at the size of this network, {size}, instead of the published {published}.', 'current'
        )
    loader.dataset.protocol = _sampling(spec, loader.dataset.get('protocol') or {})
    loader.dataset.query_pipeline, loader.dataset.support_pipeline = _pipelines(spec, loader.dataset)
    cfg.test_dataloader = loader


def read_preset(name: str) -> ConfigDict:
    """The ``test_protocol`` of a shipped preset, or of a file."""
    path = name if name.endswith('.py') else f'configs/_base_/protocols/{name}.py'
    try:
        found = Config.fromfile(resolve_config(path)).get('test_protocol')
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'There is no protocol {name}: choose one of {", ".join(PRESETS)}, or name a file that '
            f'sets `test_protocol`. {error}'
        ) from error
    if found is None:
        raise ValueError(f'{path} sets no `test_protocol`: see configs/_base_/protocols/bam.py.')
    return found


def _settle_data_set(spec: dict, source: ConfigDict, filename: str) -> None:
    """Take over what differs on COCO, and refuse other folds than the protocol's."""
    kind = DATASETS.get(source.get('type'))
    on_coco = inspect.isclass(kind) and issubclass(kind, COCO20iDataset)
    for key, value in (spec.pop('coco', None) or {}).items():
        if on_coco:
            spec[key] = {**spec[key], **value} if isinstance(value, dict) else value
    scheme = spec.pop('coco_scheme', None)
    if on_coco and scheme and source.get('scheme', 'fwb') != scheme:
        raise ValueError(
            f"The protocol {spec['name']} is defined on COCO-20i's {scheme!r} folds, but {filename} has "
            f'scheme={source.scheme!r}: its novel classes are others. Use the protocol `balanced`, or a '
            f'config that was trained with scheme={scheme!r}.'
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

    def steps(pipeline) -> tuple[dict, dict, dict, dict]:
        """Image, annotation, geometry and packing, each a config of its own."""
        own = {type_name(step): dict(step) for step in pipeline if isinstance(step, dict)}
        kinds = ('LoadFewShotImage', 'LoadFewShotAnnotations', 'PackEpisodeInputs')
        image, labels, pack = (own.get(kind, dict(type=kind)) for kind in kinds)
        return image, labels, dict(spec['geometry']), pack

    image, labels, geometry, pack = steps(dataset.get('query_pipeline', ()))
    if truth == 'network':
        query = [image, labels, geometry, dict(type='ScoreAtNetworkSize'), pack]
    else:
        query = [image, geometry, labels, pack]
    image, labels, geometry, pack = steps(dataset.get('support_pipeline', ()))
    labels['keep_ignore'] = ignore == 'ignore'
    weak = [dict(step) for step in dataset.get('support_pipeline', ()) if type_name(step) == 'WeakAnnotation']
    return query, [image, labels, *weak, geometry, pack]


def protocol_name(preset: str) -> str:
    """Short name of a preset given by name or file, for folders and tables."""
    return Path(preset).stem
