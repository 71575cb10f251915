# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a benchmark measures of its competitors, put into plain dicts."""

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from .competitors import Competitor, Own
from .evaluation import evaluation_images, evaluation_rounds
from .field import single_call
from .memory import Peak, cuda_peak, process_peak
from .models import Setup
from .parts import REST, flops, part_flops, part_seconds
from .timing import alternate, spread

MEASURES = ('joint', 'encode', 'segment', 'train', 'evaluate')


def measure_calls(competitors: Sequence[Competitor], measure: str, rounds: int, memory: bool, setup: Setup) -> dict:
    """One measure but evaluation, of all competitors that know it.

    Args:
        competitors (Sequence[Competitor]): Who takes turns.
        measure (str): 'joint', 'encode', 'segment' or 'train'.
        rounds (int): That are timed.
        memory (bool): Whether to measure the peak of memory too.
        setup (Setup): What is measured.

    Returns:
        dict: Name -> ``seconds`` of each round, ``median``, ``low`` and ``high`` (the quartiles), ``flops``, and with
        memory ``peak`` and ``working`` in bytes.
    """
    device = torch.device(setup.device)
    able = {one.name: one for one in competitors if measure in one.measures}
    times = alternate(
        {name: lambda number, one=one: one.prepare(measure, number) for name, one in able.items()}, rounds, device
    )
    found = {
        name: dict(seconds=times[name], **spread(times[name]), flops=flops(one.prepare(measure, 0)))
        for name, one in able.items()
    }
    if memory:
        for name, peak in _peaks(able, measure, setup).items():
            found[name].update(peak)
    return found


def _peaks(able: Mapping[str, Competitor], measure: str, setup: Setup) -> dict[str, Peak]:
    if setup.device == 'cuda':
        return {name: cuda_peak(one.prepare(measure, 0), torch.device('cuda')) for name, one in able.items()}
    with _weights_in_a_file(able.values(), setup) as ready:
        return {name: process_peak(single_call, ready, name, measure) for name in able}


@contextmanager
def _weights_in_a_file(competitors: Iterable[Competitor], setup: Setup) -> Iterator[Setup]:
    """The setup with random weights as a checkpoint.

    Making them anew takes forwards, whose freed memory would lie in holes all over a process that is to be measured.
    """
    own = next((one for one in competitors if isinstance(one, Own)), None)
    if setup.checkpoint is not None or own is None:
        yield setup
        return
    with TemporaryDirectory() as folder:
        path = str(Path(folder) / 'weights.pth')
        torch.save(dict(state_dict=own.model.state_dict()), path)
        yield dataclasses.replace(setup, checkpoint=path)


def measure_evaluation(
    competitors: Sequence[Competitor], setup: Setup, images: int, episodes: int, rounds: int
) -> dict:
    """Evaluation, each round with an empty store of features.

    Args:
        competitors (Sequence[Competitor]): Who takes turns.
        setup (Setup): What is measured.
        images (int): Different images.
        episodes (int): Of a round.
        rounds (int): That are timed.

    Returns:
        dict: Name -> as :func:`measure_calls`, with ``episodes_per_second`` (of the median) and ``mIoU``, which must be
        the same for all; no FLOPs and no memory.
    """
    metrics = {}
    with evaluation_images(setup, images) as dataset:
        prepare = evaluation_rounds(setup, dataset, episodes)

        def start(one: Competitor, number: int):
            run = prepare(one, number)
            return lambda: metrics.update({one.name: run()})

        times = alternate(
            {one.name: lambda number, one=one: start(one, number) for one in competitors},
            rounds,
            torch.device(setup.device),
            warmup=0,
        )
    found = {}
    for name, seconds in times.items():
        median = statistics.median(seconds)
        mean_iou = metrics[name].get('mIoU')
        found[name] = dict(seconds=seconds, **spread(seconds), episodes_per_second=episodes / median, mIoU=mean_iou)
    return found


def measure_parts(one: Competitor, rounds: int, speed: float, setup: Setup) -> dict:
    """The parts of a joint forward.

    Args:
        one (Competitor): Whose parts.
        rounds (int): That are timed.
        speed (float): Of the matrix product in its precision, in floating-point operations a second.
        setup (Setup): What is measured.

    Returns:
        dict: Part -> ``seconds`` (median), ``share`` of the call, ``flops``, and ``of_matrix_product``, its speed over
        ``speed``.
    """
    device, parts = torch.device(setup.device), one.parts()
    one.prepare('joint', -1)()
    laps = [part_seconds(one.prepare('joint', number), parts, device) for number in range(rounds)]
    seconds = {part: statistics.median(lap[part] for lap in laps) for part in (*parts, REST)}
    counts, total = part_flops(one.prepare('joint', 0), parts), sum(seconds.values())
    return {
        part: dict(
            seconds=taken,
            share=taken / total,
            flops=counts[part],
            of_matrix_product=counts[part] / taken / speed if taken else 0.0,
        )
        for part, taken in seconds.items()
    }


def describe(one: Competitor, setup: Setup) -> dict:
    """Size of a competitor: ``parameters``, ``learned`` ones, and ``bank_bytes`` where it keeps a bank."""
    found = dict(parameters=one.count_parameters(), learned=sum(parameter.numel() for parameter in one.learned()))
    if isinstance(one, Own):
        one.train(False)
        found['bank_bytes'] = one.register(setup.episode(0, batch_size=1)).nbytes
    return found
