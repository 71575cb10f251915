# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Episodes of N classes a query: what :mod:`mmfss.datasets.episodes` is for one class."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NWayEpisode:
    """One query to divide among W classes and the background, given K supports of each.

    Args:
        run (int): Run, from 0.
        episode (int): Number within the run, from 0.
        class_names (tuple[str, ...]): The W classes; the w-th is label 1 + w.
        query_way (int): Which of them the query was drawn for, from 0.
        query (str): Name of the query image in its list.
        supports (tuple[tuple[str, ...], ...]): For each class the names of its K support images. An image may serve
            two classes, and may be the query of one and a support of another.
    """

    run: int
    episode: int
    class_names: tuple[str, ...]
    query_way: int
    query: str
    supports: tuple[tuple[str, ...], ...]


def n_way_hash(episodes: Iterable[NWayEpisode]) -> str:
    """SHA-256 over everything in all episodes, in order; see :func:`mmfss.datasets.episodes.episodes_hash`."""
    digest = hashlib.sha256()
    for e in episodes:
        supports = [list(names) for names in e.supports]
        line = json.dumps([e.run, e.episode, list(e.class_names), e.query_way, e.query, supports])
        digest.update(f'{line}\n'.encode())
    return digest.hexdigest()
