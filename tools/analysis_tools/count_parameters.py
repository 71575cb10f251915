#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Print the parameters of configs, all and learned in their stage, as a Markdown table.

python tools/analysis_tools/count_parameters.py                       # the MSANet configs
python tools/analysis_tools/count_parameters.py configs/pspnet/*.py
"""

import argparse
import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmfss.registry import MODELS
from mmfss.utils.configs import resolve_config
from mmfss.utils.plain_errors import plain_errors

DEFAULT = [
    f'configs/msanet/{backbone}_{dataset}_{shots}shot.py'
    for backbone in ('vgg16', 'r50', 'r101')
    for dataset in ('pascal', 'coco')
    for shots in (1, 5)
]


def count_parameters(config: str) -> tuple[int, int]:
    """Number of parameters of a config's model, and of those that its stage learns."""
    cfg = Config.fromfile(resolve_config(config))
    init_default_scope(cfg.get('default_scope', 'mmfss'))
    parameters = list(MODELS.build(cfg.model).parameters())
    return (sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad))


@plain_errors('count_parameters')
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='*', default=DEFAULT, help='default: the MSANet configs')
    args = parser.parse_args()
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    print('| config | parameters | learned |\n|---|---|---|')
    for config in args.configs:
        total, learned = count_parameters(config)
        print(f'| `{Path(config).stem}` | {total / 1e6:.2f} M | {learned / 1e6:.2f} M |', flush=True)


if __name__ == '__main__':
    main()
