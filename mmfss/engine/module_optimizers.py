# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Optimisers of their own for some modules of a model, which step together with that of all the rest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from mmengine.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from mmfss.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

REST = 'rest'


class JointOptimWrapper(OptimWrapperDict):
    """Several optimisers that step after one backward pass; mmengine's dict leaves that to each model.

    The first one counts accumulated batches and gives the precision for all.
    """

    @property
    def _first(self) -> OptimWrapper:
        return next(iter(self.optim_wrappers.values()))

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """That of the first optimiser."""
        with self._first.optim_context(model):
            yield

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """As OptimWrapper's."""
        self._first.initialize_count_status(model, init_counts, max_counts)

    def update_params(self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None) -> None:
        """As OptimWrapper's: backward, and a step of every optimiser when enough batches are accumulated."""
        self._first.backward(self._first.scale_loss(loss))
        if self._first.should_update():
            for wrapper in self.optim_wrappers.values():
                wrapper.step(**(step_kwargs or {}))
                wrapper.zero_grad(**(zero_kwargs or {}))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ModuleOptimizers:
    """Builds a :class:`JointOptimWrapper` from ``optim_wrapper`` of a config.

    ``optimizer`` is for all weights but those of ``modules``; a schedule is given for each name, ``rest`` being that of
    ``optimizer``::

        optim_wrapper = dict(
            constructor='ModuleOptimizers',
            optimizer=dict(type='SGD', lr=0.0375),
            modules=dict(transformer=dict(module='decode_head.transformer', optimizer=dict(type='AdamW', lr=1e-4))))
        param_scheduler = dict(rest=[dict(type='PolyLR', ...)], transformer=[])

    An entry of ``modules`` may have a ``paramwise_cfg`` as mmengine knows it. All other fields, such as ``type``,
    ``accumulative_counts`` and ``clip_grad``, count for every optimiser.

    Args:
        optim_wrapper_cfg (Mapping): See above.
        paramwise_cfg (Mapping, optional): Not for the rest; must be empty.

    Raises:
        ValueError: When fields are missing, or the wrapper scales the loss for one optimiser.
    """

    def __init__(self, optim_wrapper_cfg: Mapping, paramwise_cfg: Mapping | None = None):
        self.cfg = dict(optim_wrapper_cfg)
        self.modules = dict(self.cfg.pop('modules', None) or {})
        self.cfg.setdefault('type', 'OptimWrapper')
        if paramwise_cfg:
            raise ValueError('optim_wrapper.paramwise_cfg: ModuleOptimizers takes one in each entry of `modules` only')
        if 'optimizer' not in self.cfg or not self.modules or REST in self.modules:
            raise ValueError(
                f"optim_wrapper of ModuleOptimizers needs `optimizer` and `modules`, in which no name may be '{REST}'"
            )
        if issubclass(OPTIM_WRAPPERS.get(self.cfg['type']), AmpOptimWrapper):
            raise ValueError(
                f"optim_wrapper.type='{self.cfg['type']}' scales the loss for one optimiser, and this config has "
                f"{1 + len(self.modules)}: train in float32, or with type='BFloat16OptimWrapper'"
            )

    def __call__(self, model: nn.Module) -> JointOptimWrapper:
        """The optimisers of a model, perhaps one wrapped for data-parallel training.

        Raises:
            ValueError: When a module is missing, or learns nothing.
        """
        model, parts, taken = getattr(model, 'module', model), {}, set()
        for name, own in self.modules.items():
            try:
                module = model.get_submodule(own['module'])
            except (AttributeError, KeyError) as error:
                raise ValueError(f'optim_wrapper.modules.{name}.module: {error}') from error
            learned = {id(p) for p in module.parameters() if p.requires_grad}
            if not learned or learned & taken:
                raise ValueError(f'optim_wrapper.modules.{name}: {own["module"]} learns nothing, or for another entry')
            taken |= learned
            cfg = dict(self.cfg, optimizer=own['optimizer'])
            parts[name] = DefaultOptimWrapperConstructor(cfg, own.get('paramwise_cfg'))(module)
        rest = [p for p in model.parameters() if p.requires_grad and id(p) not in taken]
        return JointOptimWrapper(**{REST: self._wrap(rest), **parts})

    def _wrap(self, parameters: list[nn.Parameter]) -> OptimWrapper:
        optimizer: torch.optim.Optimizer = OPTIMIZERS.build(dict(self.cfg['optimizer'], params=parameters))
        return OPTIM_WRAPPERS.build(dict(self.cfg, optimizer=optimizer))
