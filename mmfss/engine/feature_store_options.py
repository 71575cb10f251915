# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a config says about a feature store, and which models can have one."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.config import Config

from mmfss.models import FewShotSegmentor

DTYPES = ('bfloat16', 'float16', 'float32')


@dataclass(frozen=True)
class StoreOptions:
    """``train_cfg=dict(feature_store=dict(...))``.

    Attributes:
        folder (str): Where stores are kept, each in a folder named after its key.
        views (int): Augmented views of an image. Defaults to 2.
        dtype (str): Number format on disk, 'bfloat16', 'float16' or 'float32'. Defaults to 'bfloat16'.
        seed (int): Of the augmentation. Defaults to 0.
        batch_size (int): Images in one pass through the backbone. Defaults to 4.
    """

    folder: str
    views: int = 2
    dtype: str = 'bfloat16'
    seed: int = 0
    batch_size: int = 4

    def __post_init__(self):
        where = 'train_cfg.feature_store'
        for name in ('views', 'batch_size'):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{where}.{name} is {value!r}; it must be a whole number of at least 1')
        if self.dtype not in DTYPES:
            raise ValueError(f'{where}.dtype is {self.dtype!r}; choose from {", ".join(DTYPES)}')


def store_options(cfg: Mapping) -> StoreOptions:
    """Options from a config's dict.

    Raises:
        ValueError: When one is unknown, missing or out of range.
    """
    try:
        return StoreOptions(**cfg)
    except TypeError as error:
        known = ', '.join(StoreOptions.__dataclass_fields__)
        raise ValueError(
            f'train_cfg.feature_store={dict(cfg)}: it takes {known}, of which folder is needed ({error})'
        ) from error


def check_feature_store(cfg: Config) -> None:
    """Refuse, before any long work, a config whose features differ from one step to the next.

    Raises:
        ValueError: When it does; names the key.
    """
    options = (cfg.get('train_cfg') or {}).get('feature_store')
    if options is None:
        return
    store_options(options)
    for key in ('freeze_backbone', 'norm_eval'):
        if not cfg.model.get(key, True):
            raise ValueError(_changing(key))


def check_model(model: FewShotSegmentor) -> None:
    """Refuse a model whose features cannot be kept.

    Raises:
        TypeError: When it is no few-shot segmentor.
        ValueError: When its features differ from one step to the next, or from queries to supports.
    """
    if not isinstance(model, FewShotSegmentor):
        raise TypeError(f'train_cfg.feature_store: the model is a {type(model).__name__}, not a FewShotSegmentor')
    for key in ('freeze_backbone', 'norm_eval'):
        if not getattr(model, key):
            raise ValueError(_changing(key))
    if model.with_neck and model.query_stages() != model.support_stages():
        raise ValueError(
            'train_cfg.feature_store: the neck reads other stages of queries '
            f'({", ".join(model.query_stages())}) than of supports ({", ".join(model.support_stages())}), so that its '
            'output is not one map of an image. Train without a feature store'
        )


def _changing(key: str) -> str:
    return (
        f'train_cfg.feature_store keeps features of a frozen backbone, but model.{key} is False: they change while it '
        'trains. Take feature_store out'
    )
