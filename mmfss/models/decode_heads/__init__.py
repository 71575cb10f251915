# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""One file a method. Every module of this folder is imported, so a new head needs no line here."""

import importlib
import pkgutil

from torch import nn

from .base_meta_head import BaseMetaHead, MetaOutput

__all__ = ['BaseMetaHead', 'MetaOutput']
for _module in pkgutil.iter_modules(__path__, f'{__name__}.'):
    for _name, _value in vars(importlib.import_module(_module.name)).items():
        if isinstance(_value, type) and issubclass(_value, nn.Module) and _value.__module__ == _module.name:
            globals()[_name] = _value
            __all__ += [] if _name in __all__ or _name.startswith('_') else [_name]
