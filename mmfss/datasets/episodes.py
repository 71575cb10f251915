# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episodes, their hash, and frozen lists of them.

An episode names images, not paths, so that a list made on one copy of the data works on another.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmfss.utils.files import atomic_write_text

LIST_FORMAT = 'mmfss-episodes-1'


@dataclass(frozen=True, slots=True)
class Episode:
    """One query to segment, given K supports of its class.

    Args:
        run (int): Run, from 0.
        episode (int): Number within the run, from 0.
        class_name (str): The class to segment.
        query (str): Name of the query image in its list.
        supports (tuple[str, ...]): Names of the K support images.
    """

    run: int
    episode: int
    class_name: str
    query: str
    supports: tuple[str, ...]


def episodes_hash(episodes: Iterable[Episode]) -> str:
    """SHA-256 over run, number, class name, query and supports of all episodes, in order.

    Two people with the same hash judged the same episodes.
    """
    digest = hashlib.sha256()
    for e in episodes:
        line = json.dumps([e.run, e.episode, e.class_name, e.query, list(e.supports)])
        digest.update(f'{line}\n'.encode())
    return digest.hexdigest()


def write_episodes(path: str | os.PathLike, episodes: Sequence[Episode], header: dict) -> None:
    """Write a frozen list: a header line, then one episode a line, all JSON.

    Args:
        path: File to write; it appears only when it is complete.
        episodes: The episodes, run after run.
        header: What to know about them (protocol, fold, shots ...); format and hash are added.
    """
    lines = [{'format': LIST_FORMAT, **header, 'hash': episodes_hash(episodes)}]
    lines += [
        {'run': e.run, 'episode': e.episode, 'class': e.class_name, 'query': e.query, 'supports': list(e.supports)}
        for e in episodes
    ]
    atomic_write_text(''.join(json.dumps(line) + '\n' for line in lines), Path(path))


def read_episodes(path: str | os.PathLike) -> tuple[dict, list[Episode]]:
    """Read a frozen list and check it against its own hash.

    Returns:
        tuple: the header and the episodes.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no episode list, or was changed after it was written.
    """
    try:
        with open(path) as file:
            header, *lines = [json.loads(line) for line in file if line.strip()]
        if header['format'] != LIST_FORMAT:
            raise ValueError(f'its format is {header["format"]}, not {LIST_FORMAT}')
        episodes = [Episode(x['run'], x['episode'], x['class'], x['query'], tuple(x['supports'])) for x in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not an episode list ({type(error).__name__}: {error}). Write it anew.') from error
    if not episodes or episodes_hash(episodes) != header.get('hash'):
        raise ValueError(
            f'The episode list {path} does not match the hash in its header: it was '
            'changed or cut off. Write or fetch it anew.'
        )
    return header, episodes
