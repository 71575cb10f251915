# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Released checkpoints in mmfss: renaming, detection, checks. Used by tools/model_converters.

A method is one module of this package that registers itself (:mod:`mmfss.conversion.methods`); all modules are imported
here, so a new one needs no entry in any list.
"""

from importlib import import_module
from pkgutil import iter_modules

from .methods import METHODS, ReleasedMethod, recognise, register
from .names import ConversionError
from .variant import Variant

for _module in iter_modules(__path__):
    import_module(f'{__name__}.{_module.name}')

__all__ = ['METHODS', 'ConversionError', 'ReleasedMethod', 'Variant', 'recognise', 'register']
