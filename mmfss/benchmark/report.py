# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""A benchmark as a table on the terminal, and what has to be known about the machine beside it."""

import os
import platform
import re
import subprocess
from pathlib import Path

import torch

from mmfss.version import __version__

GIGA, MEBI = 1e9, 2**20


def machine(device: str) -> dict:
    """Processor, cores, threads and versions."""
    found = dict(
        cpu=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count(),
        threads=torch.get_num_threads(),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        mmfss=__version__,
        device=device,
    )
    if device == 'cuda':
        found['gpu'] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        names = re.findall(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text())
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit that runs, with ``-dirty`` where files were changed; None outside a checkout."""
    command = ['git', '-C', str(Path(__file__).parent), 'describe', '--always', '--dirty', '--abbrev=12']
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def add_ratios(measures: dict, peer: str | None) -> None:
    """Put ``ratio`` beside every time of a measure that the peer knows too: how many times as fast as the peer."""
    for rows in measures.values():
        for name, row in rows.items():
            if peer in rows and name != peer:
                row['ratio'] = rows[peer]['median'] / row['median']
                if 'peak' in row and 'peak' in rows[peer]:
                    row['peak_ratio'] = row['peak'] / rows[peer]['peak']


def table(result: dict) -> str:
    """The result as Markdown tables."""
    setup, host, peer = result['setup'], result['machine'], result['peer']
    where = host.get('gpu') or f'{host["cpu"]}, {host["cores"]} cores, {host["threads"]} threads'
    lines = [
        f'{setup["config"]}: {setup["shots"]} shot(s), {setup["size"]} x {setup["size"]}, '
        f'{setup["share"]:.0%} foreground, batch {setup["batch_size"]}; {where}; torch {host["torch"]}',
        f'matrix product: {", ".join(f"{k} {v / GIGA:.0f} GFLOP/s" for k, v in result["matrix_product"].items())}',
    ]
    for name, found in result['agreement'].items():
        verdict = 'at most' if found['deviation'] <= found['wanted'] else 'MORE than'
        lines.append(
            f'`final` of {name} against {peer or "float32"}: {found["deviation"]:.1e} standard deviations, '
            f'{verdict} {found["wanted"]:.0e}; {found["equal_pixels"]:.3%} equal pixels'
        )
    for name, found in result['competitors'].items():
        bank = f', bank {found["bank_bytes"] / MEBI:.0f} MiB' if 'bank_bytes' in found else ''
        lines.append(
            f'{name}: {found["parameters"] / 1e6:.2f} M parameters, {found["learned"] / 1e6:.2f} M learned{bank}'
        )
    lines += ['', *_measures(result['measures'], peer)]
    for name, parts in result['parts'].items():
        lines += ['', *_parts(name, parts)]
    return '\n'.join(lines)


def _measures(measures: dict, peer: str | None) -> list[str]:
    lines = [
        f'| measure | model | median s (quartiles) | times as fast as {peer or "-"} | GFLOP | peak MiB (of the call) |',
        '|---|---|---|---|---|---|',
    ]
    for measure, rows in measures.items():
        for name, row in rows.items():
            time = f'{row["median"]:.3f} ({row["low"]:.3f}-{row["high"]:.3f})'
            if 'episodes_per_second' in row:
                time += f', {row["episodes_per_second"]:.2f} episodes/s'
            ratio = f'{row["ratio"]:.2f}' if 'ratio' in row else '-'
            count = f'{row["flops"] / GIGA:.3g}' if 'flops' in row else '-'
            peak = f'{row["peak"] / MEBI:.0f} ({row["working"] / MEBI:.0f})' if 'peak' in row else '-'
            lines.append(f'| {measure} | {name} | {time} | {ratio} | {count} | {peak} |')
    return lines


def _parts(name: str, parts: dict) -> list[str]:
    lines = [f'| {name}, joint | s | share | GFLOP | of the matrix product |', '|---|---|---|---|---|']
    for part, row in parts.items():
        speed = f'{row["of_matrix_product"]:.0%}' if row['flops'] else '-'
        lines.append(f'| {part} | {row["seconds"]:.3f} | {row["share"]:.0%} | {row["flops"] / GIGA:.3g} | {speed} |')
    return lines
