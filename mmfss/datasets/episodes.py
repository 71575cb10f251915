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
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .few_shot_dataset import FewShotSegDataset

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

    Two results with the same hash were measured on the same episodes.
    """
    digest = hashlib.sha256()
    for e in episodes:
        line = json.dumps([e.run, e.episode, e.class_name, e.query, list(e.supports)])
        digest.update(f'{line}\n'.encode())
    return digest.hexdigest()


def write_episodes(path: str | os.PathLike, episodes: Sequence[Episode], header: dict) -> None:
    """Write a frozen list: a header line, then one episode a line, all JSON.

    Args:
        path (str | os.PathLike): File to write; it appears only when it is complete.
        episodes (Sequence[Episode]): The episodes, run after run.
        header (dict): What to know about them (protocol, fold, shots ...); format and hash are added.
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
        tuple: The header and the episodes.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is no episode list, or was changed after it was written.
    """
    try:
        with open(path) as file:
            header, *lines = [json.loads(line) for line in file if line.strip()]
        if header['format'] != LIST_FORMAT:
            raise ValueError(f'its format is {header["format"]}, not {LIST_FORMAT}')
        episodes = [Episode(x['run'], x['episode'], x['class'], x['query'], tuple(x['supports'])) for x in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not an episode list ({type(error).__name__}: {error}). Write it again.') from error
    if not episodes or episodes_hash(episodes) != header.get('hash'):
        raise ValueError(
            f'The episode list {path} does not match the hash in its header: it was '
            'changed or cut off. Write or download it again.'
        )
    return header, episodes


def check_episodes(
    episodes: Sequence[Episode], header: dict, data: 'FewShotSegDataset', shots: int, path: str | None
) -> None:
    """Refuse a frozen list that was made for other data, another fold or other shots.

    Args:
        episodes (Sequence[Episode]): The list.
        header (dict): Its header.
        data (FewShotSegDataset): What the episodes shall be taken from.
        shots (int): K of the config.
        path (str, optional): Where the list is from, for the messages.

    Raises:
        ValueError: When it does not fit; the message says in which respect.
    """
    where = f'The episode list {path}'
    for key, own in (('shots', shots), ('fold', data.fold)):
        if header.get(key) != own:
            raise ValueError(f'{where} was made for {key} {header.get(key)}, the config asks for {key} {own}.')
    names = {e.class_name for e in episodes} | set(header.get('eval_classes', ()))
    unknown = sorted(names - {data.class_names[c] for c in data.phase_class_ids})
    if unknown or 'eval_classes' not in header:
        raise ValueError(
            f'{where} was made for another data set: its classes {unknown} are '
            f'not classes of fold {data.fold}, phase {data.phase}.'
        )
    if any(len(e.supports) != shots for e in episodes):
        raise ValueError(f'{where} holds episodes without exactly {shots} supports.')


def check_images(episodes: Sequence[Episode], places: np.ndarray, data: 'FewShotSegDataset', path: str | None) -> None:
    """Refuse a list of images that are not in the data, or do not show their class.

    Args:
        episodes (Sequence[Episode]): E episodes.
        places (np.ndarray): (E, 1 + K) positions of query and supports in the data's list, -1 where there is none.
        data (FewShotSegDataset): Knows which labels occur at a position.
        path (str, optional): Where the list is from, for the message.

    Raises:
        ValueError: When an image is not in the list or lacks the class; the message names the first.
    """
    for row, episode in zip(places, episodes, strict=True):
        class_id = data.class_names.index(episode.class_name)
        for place, name in zip(row, (episode.query, *episode.supports), strict=True):
            if place < 0 or class_id not in data.labels_of(place):
                reason = (
                    f'is not in the image list {data.list_name}'
                    if place < 0
                    else f'holds no pixel of {episode.class_name}'
                )
                raise ValueError(
                    f'The episode list {path} was made for another data set: '
                    f'image {name} of episode {episode.episode} {reason}.'
                )
