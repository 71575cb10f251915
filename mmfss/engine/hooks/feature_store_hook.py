# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Training on a feature store: ``train_cfg=dict(feature_store=dict(folder=..., views=2))``."""

from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from mmfss.datasets import EpisodicDataset, FixedViews, NWayEpisodicDataset, StoredEpisodes
from mmfss.registry import HOOKS
from mmfss.utils.weights import bare_model

from ..feature_store import open_store
from ..feature_store_options import store_options
from ..repeatable_draws import RepeatableDraws


@HOOKS.register_module()
class FeatureStoreHook(Hook):
    """Before training: opens or makes the store, then lets the training loop read it in place of images.

    Episodes, batch size and order are those of ``train_dataloader``; its workers compute the views and have nothing to
    do afterwards.

    Args:
        **options: See :class:`mmfss.engine.feature_store_options.StoreOptions`.

    Raises:
        ValueError: When an option is unknown or out of range.
    """

    priority = 'VERY_HIGH'

    def __init__(self, **options) -> None:
        self.options = store_options(options)

    def before_train(self, runner) -> None:
        """Replace the data loader of the training loop.

        Raises:
            TypeError: When the loop does not train on episodes.
        """
        loop = runner.train_loop
        old, model = loop.dataloader, bare_model(runner.model)
        draws = old.dataset if isinstance(old.dataset, RepeatableDraws) else None
        dataset = old.dataset if draws is None else draws.wrapped
        one_class = isinstance(dataset, EpisodicDataset) and not isinstance(dataset, NWayEpisodicDataset)
        if not one_class or not dataset.training:
            raise TypeError(
                'train_cfg.feature_store needs an EpisodicDataset without protocol in train_dataloader.dataset, it is '
                f'{type(dataset).__name__}'
            )
        views = FixedViews(dataset, self.options.views, self.options.seed)
        file = open_store(model, views, self.options, runner.optim_wrapper, old.num_workers)
        episodes = StoredEpisodes(views, file, model.query_stages(), model.support_stages())
        loop.dataloader = DataLoader(
            episodes if draws is None else draws.around(episodes),
            old.batch_size,
            sampler=old.sampler,
            drop_last=old.drop_last,
            collate_fn=episodes.collate,
        )
        if hasattr(loop, 'dataloader_iterator'):  # of loops that count iterations
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)
