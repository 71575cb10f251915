# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Predicted masks as files, for an evaluation elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement
from PIL import Image

from mmfss.registry import HOOKS
from mmfss.utils.files import atomic_open, check_writable


@HOOKS.register_module()
class PredictionFileHook(Hook):
    """Writes the final mask of every test episode; ``tools/test.py --out`` sets it.

    A file is ``run0_ep0007_class15_2007_000464.png``: run, episode, class id and query; a PNG of
    the query's original size with 0 for background and 1 for foreground.

    Args:
        out_dir (str): The folder; made when missing.
    """

    def __init__(self, out_dir: str) -> None:
        self.out_dir = Path(out_dir)

    def before_test(self, runner) -> None:
        """Make the folder before the work, so that a wrong path shows at once.

        Raises:
            OSError: When it cannot be written.
        """
        check_writable(self.out_dir)
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def after_test_iter(
        self, runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence[BaseDataElement] | None = None
    ) -> None:
        """Write the masks of one batch.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Index of the batch.
            data_batch (dict | None): The batch.
            outputs (Sequence[BaseDataElement]): Query samples with ``pred_sem_seg`` (1, h, w).

        Raises:
            OSError: When a file cannot be written; names it.
        """
        for sample in outputs or ():
            mask = sample.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)  # (h, w)
            name = (
                f'run{sample.run}_ep{int(sample.episode):04d}_class{sample.class_id}_{Path(sample.img_path).stem}.png'
            )
            with atomic_open(self.out_dir / name, sync=False) as stream:
                Image.fromarray(mask).save(stream, 'PNG')
