# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Options that ``tools/train.py`` and ``tools/test.py`` share, and how they become a config."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config

from mmfss.utils.checkpoint_files import add_trust_option
from mmfss.utils.configs import gives_episodes, resolve_config

from .batch_size import settle_batch_size
from .cross_validation import all_folds
from .options import add_cfg_options, merge_options, refuse_late
from .protocol_presets import apply_protocol

# option -> (environment variable that configs read, config field that it sets)
_VARIABLES = {
    'fold': ('FOLD', 'fold'),
    'data_root': ('MMFSS_DATA_ROOT', 'data_root'),
    'candidate_area': ('MMFSS_CANDIDATE_AREA', 'candidate_area'),
    'work_root': ('MMFSS_WORK_ROOT', 'work_root'),
}


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add mmseg's run options and ours to ``parser``."""
    parser.add_argument('--work-dir', help='folder for logs and checkpoints of this run')
    parser.add_argument('--fold', type=int, help='fold whose classes are novel (0, 1, ...)')
    parser.add_argument('--data-root', help="folder of the data set, instead of the config's")
    parser.add_argument(
        '--candidate-area',
        type=int,
        metavar='PIXELS',
        help='a class must cover so many pixels of an image to be drawn from it',
    )
    parser.add_argument('--work-root', help='folder that holds the work dirs of all runs')
    add_cfg_options(parser)
    add_trust_option(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_shots_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--shots K``, which :func:`load_config` hands to the config as it does ``--fold``."""
    parser.add_argument(
        '--shots',
        dest='episode_shots',  # tools/deployment/export.py has a --shots of its own
        type=int,
        metavar='K',
        help="supports of each episode, instead of the config's",
    )


def add_episode_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which test episodes a tool looks at; :func:`apply_episode_options` reads them."""
    add_shots_option(parser)
    parser.add_argument(
        '--support-control',
        choices=['wrong_novel', 'base'],
        help='replace each support by one of a wrong novel or of a base class',
    )
    parser.add_argument(
        '--support-annotation',
        choices=['mask', 'box', 'scribble', 'point'],
        help='what the supports are annotated with',
    )
    parser.add_argument(
        '--protocol',
        metavar='NAME',
        help='test by configs/_base_/protocols/NAME.py, such as bam (all: docs/protocols.md), or by a file like them, '
        'instead of what the config says',
    )
    parser.add_argument(
        '--episodes-file',
        metavar='FILE',
        help='judge the episodes of this list (tools/analysis_tools/episodes.py writes lists)',
    )


def apply_episode_options(cfg: Config, args: argparse.Namespace) -> None:
    """Put the options of :func:`add_episode_options` into the config; :func:`load_config` reads ``protocol`` itself."""
    for name in ('support_control', 'support_annotation', 'episodes_file'):
        if value := getattr(args, name):
            cfg.test_dataloader.dataset[name] = value


def load_config(args: argparse.Namespace, parser: argparse.ArgumentParser) -> Config:
    """Read the config that the options describe.

    ``--fold`` and its kin are handed over as environment variables, because other fields are
    computed from them while the config is read. So is ``--shots`` (variable SHOTS). Where a config fixes its own number
    of shots, ``--shots`` is about its test data alone and its work dir ends in ``_Kshot``: the weights of a 5-shot
    config can be tested with any K.

    Args:
        args (argparse.Namespace): Parsed options, with ``config``.
        parser (argparse.ArgumentParser): Complains about options that cannot be met.

    Returns:
        Config: With ``--cfg-options`` merged and ``work_dir`` set.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    for option, (variable, _) in _VARIABLES.items():
        if (value := getattr(args, option)) == '':
            parser.error(f'--{option.replace("_", "-")} is empty')
        if value is not None:
            os.environ[variable] = str(value)
    if (shots := getattr(args, 'episode_shots', None)) is not None:
        if shots < 1:
            parser.error(f'--shots is {shots}; an episode has at least 1 support')
        os.environ['SHOTS'] = str(shots)
    try:
        cfg = Config.fromfile(resolve_config(args.config))
    except FileNotFoundError as error:
        parser.error(str(error))

    for option, (_, field) in _VARIABLES.items():
        flag = '--' + option.replace('_', '-')
        value = getattr(args, option)
        if value is not None and cfg.get(field) != value:
            parser.error(
                f'{flag} {value} has no effect on {args.config}: it has no field {field} '
                'that reads it (see configs/msanet for examples)'
            )
    try:
        refuse_late(args.cfg_options or {})
        check_fold(cfg)
        apply_protocol(cfg, getattr(args, 'protocol', None))  # before --cfg-options, which may change it
        if args.cfg_options:
            settle_batch_size(cfg, merge_options(cfg, args.cfg_options))
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    fixed_shots = shots is not None and cfg.get('shots') != shots
    if fixed_shots:
        _set_test_shots(cfg, shots, parser)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if fixed_shots and args.work_dir is None:
        cfg.work_dir = f'{cfg.work_dir}_{shots}shot'
    return cfg


def check_fold(cfg: Config) -> None:
    """Refuse a fold that the data set does not have, before any work.

    Raises:
        ValueError: When the data set has no such fold; the message says which there are.
    """
    try:
        folds = all_folds(cfg)
    except ValueError:  # data without folds, or of a kind that says nothing about them
        return
    if (fold := cfg.get('fold')) is not None and fold not in folds:
        raise ValueError(f'there is no fold {fold} (--fold): the data set of this config has {folds[0]} to {folds[-1]}')


def _set_test_shots(cfg: Config, shots: int, parser: argparse.ArgumentParser) -> None:
    """Show ``shots`` supports in the test episodes of a config whose other fields are about another number."""
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    if not gives_episodes(dataset):
        parser.error(
            f'--shots {shots} has no effect on {cfg.filename}: test_dataloader.dataset is no EpisodicDataset '
            '(a stage-1 config?)'
        )
    dataset.shots = shots
