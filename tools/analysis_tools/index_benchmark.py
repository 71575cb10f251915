#!/usr/bin/env python
# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Measure what the lists of a large data set cost: start-up time, memory of the process and of each data worker.

    python tools/analysis_tools/index_benchmark.py            # 1,000 and 120,000 images
    python tools/analysis_tools/index_benchmark.py --images 1200000 --workers 8 --json index.json

Needs no data: it writes a data set in COCO's layout with COCO's class frequencies, whose files are hard links to a few
generated ones, and removes it again. The difference between a small and a large number of images is what the lists
cost; the rest is Python, PyTorch and the pictures being worked on. Memory is read from /proc (Linux).
"""

import argparse
import gc
import logging
import multiprocessing
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader, Dataset

from mmfss.datasets import EpisodicDataset
from mmfss.datasets.synthetic import write_linked_coco
from mmfss.utils.configs import resolve_config
from mmfss.utils.files import atomic_write_json
from mmfss.utils.plain_errors import plain_errors

RECIPE = 'configs/_base_/datasets/coco20i_episodes.py'  # its training pipelines are timed
MEMORY = Path('/proc/self/smaps_rollup')
LOAD = (dict(type='LoadFewShotImage'), dict(type='LoadFewShotAnnotations'))
SMALL = [*LOAD, dict(type='SquashResize', size=64), dict(type='PackEpisodeInputs')]
EVALUATION = dict(type='BamProtocol', runs=5, episodes=1000, seed=123)  # as in the recipe
ROWS = dict(
    cold_s='start, every mask read (s)',
    cached_s='start, index cached (s)',
    evaluation_s='start of an evaluation of 5 x 1,000 episodes, index cached (s)',
    index_mb='cached index on disk (MB)',
    lists_mb='lists in the process (MB)',
    peak_mb='more than that for a moment, at the start (MB)',
    pickled_mb='data set, pickled (MB)',
    pickled_evaluation_mb='evaluation data set, pickled (MB)',
)


def make_parser() -> argparse.ArgumentParser:
    """The options of this tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, nargs='+', default=[1000, 120_000], metavar='N', help='data set sizes')
    parser.add_argument('--workers', type=int, default=4, metavar='N', help='data workers')
    parser.add_argument('--start-methods', nargs='+', choices=['fork', 'spawn'], default=['fork', 'spawn'])
    parser.add_argument(
        '--items', type=int, default=50, metavar='N', help='episodes each worker loads before it is read'
    )
    parser.add_argument('--shots', type=int, default=1, metavar='K', help='supports of an episode')
    parser.add_argument('--folder', metavar='DIR', help='where the files lie for the time being; has hard links')
    parser.add_argument('--json', metavar='FILE', help='write everything there too')
    return parser


def memory_mb() -> dict[str, float]:
    """Memory of this process: its share (``Pss``) and what no other process shares (``private``), in MB."""
    fields = dict(line.split()[:2] for line in MEMORY.read_text().splitlines()[1:])
    private = int(fields['Private_Clean:']) + int(fields['Private_Dirty:'])
    return dict(pss=int(fields['Pss:']) / 1024, private=private / 1024)


def peak_mb() -> float:
    """The largest resident size of this process so far, in MB."""
    status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return int(status['VmHWM'].split()[0]) / 1024


def quiet() -> None:
    """First thing in a fresh process: the small data sets lack classes, which is no news here."""
    warnings.filterwarnings('ignore', message='.*worker processes in total')
    MMLogger.get_current_instance().setLevel(logging.ERROR)


def episodes_of(root: Path, shots: int, pipelines: dict | None = None, protocol: dict | None = None) -> EpisodicDataset:
    """Episodes over the written files: of training, or with a protocol of an evaluation."""
    source = dict(type='COCO20iDataset', data_root=str(root), phase='val' if protocol else 'train')
    source['data_prefix'] = dict(img_path='train2014', seg_map_path='annotations/train2014')
    pipelines = pipelines or dict(query_pipeline=SMALL, support_pipeline=SMALL)
    return EpisodicDataset(source, shots=shots, protocol=protocol, **pipelines)


def timed(make: Callable) -> tuple[float, object]:
    """Seconds of a call, and what it returned."""
    start = time.perf_counter()
    made = make()
    return time.perf_counter() - start, made


class Probe(Dataset):
    """Item i: the memory of the worker that was asked for it, after it has loaded some episodes.

    Args:
        episodes (EpisodicDataset): What it loads.
        items (int): How many.
        length (int): Number of workers.
    """

    def __init__(self, episodes: EpisodicDataset, items: int, length: int) -> None:
        self.episodes, self.items, self.length = episodes, items, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, float]:
        step = max(1, len(self.episodes) // self.items)
        for item in range(self.items):
            self.episodes[(index + item * step) % len(self.episodes)]
        gc.collect()  # visits every Python object, as in a long run: those of the parent are copied then
        return memory_mb()


def cold(root: Path, shots: int) -> dict[str, float]:
    """The first start of all."""
    seconds, _ = timed(lambda: episodes_of(root, shots))
    index = sum(path.stat().st_size for path in (root / '.mmfss_cache').glob('*.npz'))
    return dict(cold_s=seconds, index_mb=index / 2**20)


def cached(root: Path, shots: int) -> dict[str, float]:
    """Every further start."""
    import mmfss.datasets.transforms  # noqa: F401  what would be loaded later anyway

    gc.collect()
    Path('/proc/self/clear_refs').write_text('5')  # the peak is counted from here on
    before = memory_mb()['private']
    resident = peak_mb()
    seconds, episodes = timed(lambda: episodes_of(root, shots))
    gc.collect()
    lists = memory_mb()['private'] - before
    return dict(
        cached_s=seconds,
        lists_mb=lists,
        peak_mb=peak_mb() - resident - lists,
        pickled_mb=len(pickle.dumps(episodes)) / 2**20,
    )


def evaluation(root: Path, shots: int) -> dict[str, float]:
    """Start of an evaluation."""
    seconds, episodes = timed(lambda: episodes_of(root, shots, protocol=dict(EVALUATION, min_images=shots + 1)))
    return dict(evaluation_s=seconds, pickled_evaluation_mb=len(pickle.dumps(episodes)) / 2**20)


def workers(root: Path, shots: int, number: int, items: int, method: str) -> dict[str, float]:
    """Mean memory of the data workers of a training, and the time until the last of them answers."""
    probe = Probe(episodes_of(root, shots), items, number)
    loader = DataLoader(probe, batch_size=None, num_workers=number, multiprocessing_context=method)
    seconds, found = timed(lambda: list(loader))
    mean = {f'{method}_{key}_mb': sum(one[key] for one in found) / number for key in found[0]}
    return {**mean, f'{method}_s': seconds}


def loading(root: Path, shots: int, items: int) -> dict[str, float]:
    """Images a second that one process loads and augments as the published recipe does."""
    episodes = episodes_of(root, shots, Config.fromfile(resolve_config(RECIPE)).train_pipelines.to_dict())
    episodes[0]
    seconds, _ = timed(lambda: [episodes[i] for i in range(1, min(items, len(episodes) - 1) + 1)])
    return dict(images_per_second=min(items, len(episodes) - 1) * (1 + shots) / seconds)


def measure(args: argparse.Namespace, images: int) -> dict[str, float]:
    """All numbers of one size; every step in a fresh process."""
    with tempfile.TemporaryDirectory(dir=args.folder, prefix='mmfss_index_') as folder:
        root = write_linked_coco(Path(folder) / 'coco', images)
        steps = [(cold,), (cached,), (evaluation,), (loading, args.items)]
        steps += [(workers, args.workers, args.items, method) for method in args.start_methods]
        result = dict(images=images)
        for step, *rest in steps:
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn'), quiet) as fresh:
                result.update(fresh.submit(step, root, args.shots, *rest).result())
    return result


def table(results: list[dict], methods: list[str]) -> str:
    """The results in Markdown, a column a size."""
    rows = dict(ROWS)
    for method in methods:
        rows[f'{method}_private_mb'] = f'memory of a data worker of its own, {method} (MB)'
        rows[f'{method}_pss_mb'] = f'... with its share of what is common, {method} (MB)'
        rows[f'{method}_s'] = f'until every worker has loaded its episodes, {method} (s)'
    rows['images_per_second'] = 'images loaded and augmented as in the recipe, one core (1/s)'
    lines = ['| images | ' + ' | '.join(f'{result["images"]:,}' for result in results) + ' |']
    lines.append('|---' * (1 + len(results)) + '|')
    for key, name in rows.items():
        lines.append(f'| {name} | ' + ' | '.join(f'{result[key]:.3g}' for result in results) + ' |')
    return '\n'.join(lines)


@plain_errors('index_benchmark')
def main() -> None:
    """Measure and print the table."""
    args = make_parser().parse_args()
    if not MEMORY.is_file():
        raise ValueError(f'{MEMORY} is missing: memory can be measured on Linux only')
    for name in ('images', 'workers', 'items', 'shots'):
        if min(getattr(args, name) if name == 'images' else [getattr(args, name)]) < 1:
            raise ValueError(f'--{name} must be at least 1')
    results = [measure(args, images) for images in args.images]
    print(table(results, args.start_methods))
    if args.json:
        atomic_write_json(dict(arguments=vars(args), results=results), Path(args.json))


if __name__ == '__main__':
    main()
