# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The support control: the same episodes with supports of a wrong class.

A model that scores as well with wrong supports found what stands out in the picture, not what the
supports show. No published table reports this difference; ours do.
"""

import numpy as np

from .protocols import AllBut, KeyedRandom


def wrong_supports(
    dataset, class_ids: np.ndarray, queries: np.ndarray, shots: int, list_hash: str, *, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a wrong class and K distinct supports of it for every episode.

    They come from the whole list before filtering; the wrong class covers the candidate area, and
    the true class does not occur. The choice depends on the list of episodes (through its hash)
    and on an episode's place in it, on nothing else.

    Args:
        dataset (FewShotSegDataset): Gives classes and the pool of images.
        class_ids (np.ndarray): (E,) the true classes.
        queries (np.ndarray): (E,) positions of the queries, never drawn as supports.
        shots (int): K.
        list_hash (str): Hash of the episodes.
        kind (str): 'wrong_novel' or 'base'.

    Returns:
        tuple: Classes of the supports (E,), their positions (E, K).

    Raises:
        ValueError: When for some class no other class has enough images.
    """
    kinds = dict(wrong_novel=dataset.novel_class_ids, base=dataset.base_class_ids)[kind]
    pools = {}
    for true in np.unique(class_ids).tolist():
        found = {c: dataset.pool(c, without=true).tolist() for c in kinds if c != true}
        # One more than K, so that the query may be among them.
        pools[true] = {c: pool for c, pool in found.items() if len(pool) > shots}
        if not pools[true]:
            raise ValueError(
                f'`support_control={kind!r}` finds no class with {shots + 1} images without '
                f'{dataset.class_names[true]} in fold {dataset.fold}. Take fewer shots, the other '
                'kind of control, or a smaller `candidate_area`.'
            )
    seed = int(list_hash[:16], 16)
    wrong, places = [], []
    for number, (true, query) in enumerate(zip(class_ids.tolist(), queries.tolist(), strict=True)):
        draw = KeyedRandom(seed, number, purpose=2)
        wrong.append(draw.choice(sorted(pools[true])))
        places.append(draw.sample(AllBut(pools[true][wrong[-1]], query), shots))
    return np.array(wrong), np.array(places)
