# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What a prepared benchmark must hold: the published counts.

PASCAL-5i: counts and hashes of the lists that the candidate rule gives on all 12,031 VOC and SBD masks; they are the
released lists of BAM, order included. COCO-20i (FWB): BAM's published counts; its masks are not COCO's own, so masks
that are made anew may differ in a few images.
"""

from mmfss.datasets.pascal5i import Pascal5iDataset

from .verification import ListCount

# list, images, hash, candidates of each class of the phase in the order of their ids
_PASCAL = (
    ('fold 0 train', 4208, 'dda8b99fd9d1acba', '216 459 540 486 154 205 593 249 250 1441 193 168 264 286 245'),
    (
        'fold 0 train, novel images kept',
        4760,
        '811219f5f218fb4d',
        '225 506 555 564 157 293 613 252 261 1856 222 174 292 289 287',
    ),
    ('fold 0 val', 364, '50680860a55e2f37', '81 63 89 61 71'),
    ('fold 1 train', 3726, '897f8285d9cf3667', '296 206 346 215 187 106 550 237 224 1386 139 168 180 276 190'),
    (
        'fold 1 train, novel images kept',
        4588,
        '29025d5cd73a5958',
        '307 246 351 230 223 293 613 252 261 1856 222 174 292 289 287',
    ),
    ('fold 1 val', 445, 'dfaea1c044b5ffeb', '70 100 118 110 69'),
    ('fold 2 train', 2752, '84ec6b5bf1aa4328', '286 107 334 152 103 128 287 493 228 129 125 134 144 215 179'),
    (
        'fold 2 train, novel images kept',
        4097,
        'f15f0da544f006ac',
        '307 246 351 230 223 225 506 555 564 157 222 174 292 289 287',
    ),
    ('fold 2 val', 592, 'ec3113ecf3461985', '73 125 76 74 386'),
    ('fold 3 train', 4510, 'fdade8fc72ad4ed9', '307 229 350 226 192 222 496 506 344 155 217 562 249 255 1522'),
    (
        'fold 3 train, novel images kept',
        5108,
        '6d16d21fdace149b',
        '307 246 351 230 223 225 506 555 564 157 293 613 252 261 1856',
    ),
    ('fold 3 val', 336, '2a31e3a4965a2e1c', '63 53 90 82 69'),
)
_NAMES = Pascal5iDataset.METAINFO['classes']


def _classes(key: str, numbers: str) -> dict[str, int]:
    fold = int(key.split()[1])
    novel = range(5 * fold + 1, 5 * fold + 6)
    ids = novel if key.endswith('val') else [c for c in range(1, 21) if c not in novel]
    return dict(zip((_NAMES[c] for c in ids), map(int, numbers.split()), strict=True))


PASCAL: dict[str, ListCount] = {
    key: ListCount(images, sha256, _classes(key, numbers)) for key, images, sha256, numbers in _PASCAL
}

_COCO_TRAIN = (21917, 41809, 43045, 44614)
_COCO_VAL = (26052, 15305, 13138, 12640)
COCO_FWB: dict[str, ListCount] = {
    **{f'fold {fold} train': ListCount(images=n) for fold, n in enumerate(_COCO_TRAIN)},
    **{f'fold {fold} val': ListCount(images=n) for fold, n in enumerate(_COCO_VAL)},
}
