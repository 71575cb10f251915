# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""State dicts with the names and shapes of the authors', and the converters as tools.

The golden cases list names and shapes of released state dicts; the variants they do not hold
(ResNet-101, COCO-20i, other K) differ from them in the few shapes that are changed below.
"""

import json
import re
from pathlib import Path

import golden
import torch
from helpers import load_script

REPO = Path(__file__).resolve().parents[2]
OUTPUTS = dict(pascal=16, coco=61)


def released(backbone: str, dataset: str = 'pascal', shots: int = 1) -> dict[str, torch.Tensor]:
    """Released names and shapes of any variant; each tensor is one number that no other has."""
    case = 'vgg16_pascal_1shot' if backbone == 'vgg16' else 'r50_pascal_1shot'
    text = (golden.FOLDER / f'{case}.shapes.json').read_text()
    shapes = {k: tuple(v) for k, v in json.loads(text).items()}
    if backbone == 'r101':  # 23 blocks in layer3, all like the second
        second = {k: v for k, v in shapes.items() if k.startswith('layer3.1.')}
        for block in range(6, 23):
            shapes |= {k.replace('layer3.1.', f'layer3.{block}.'): v for k, v in second.items()}
        shapes['hyper_final.0.weight'] = (64, 4 + 23 + 3, 1, 1)
    shapes['learner_base.1.4.weight'] = (OUTPUTS[dataset], 512, 1, 1)
    shapes['learner_base.1.4.bias'] = (OUTPUTS[dataset],)
    if shots > 1:
        shapes |= {
            'kshot_rw.0.weight': (2, shots, 1, 1),
            'kshot_rw.0.bias': (2,),
            'kshot_rw.2.weight': (shots, 2, 1, 1),
            'kshot_rw.2.bias': (shots,),
        }
    return {
        k: torch.tensor(i + 1).expand(v) if k.endswith('num_batches_tracked') else torch.tensor(i + 1.0).expand(v)
        for i, (k, v) in enumerate(shapes.items())
    }


def base_learner(state: dict) -> dict:
    """The same base learner as BAM saves it: with the layers once more in `encoder`."""
    names = {
        r'learner_base\.0\.(.+)': r'ppm.\1',
        r'learner_base\.1\.(.+)': r'cls.\1',
        r'layer(\d)\.(.+)': r'encoder.\1.\2',
    }
    base = {k: v for k, v in state.items() if k.startswith('layer')}
    for pattern, name in names.items():
        base |= {re.sub(pattern, name, k): v for k, v in state.items() if re.fullmatch(pattern, k)}
    return base


def imagenet(state: dict) -> dict:
    """The same ResNet as the ImageNet weights of PSPNet are named."""
    stem = dict(zip('013467', ('conv1', 'bn1', 'conv2', 'bn2', 'conv3', 'bn3'), strict=True))
    init = {
        re.sub(r'^layer0\.(\d)', lambda m: stem[m.group(1)], k): v
        for k, v in state.items()
        if re.match(r'layer\d', k) and not k.endswith('num_batches_tracked')
    }
    return {**init, 'fc.weight': torch.zeros(1000, 1).expand(1000, 2048), 'fc.bias': torch.zeros(1000)}


def converter(name: str, monkeypatch, *args) -> None:
    """Run tools/model_converters/<name>.py with these arguments, in this process."""
    path = REPO / f'tools/model_converters/{name}.py'
    module = load_script(path)
    monkeypatch.setattr('sys.argv', [str(path), *map(str, args)])
    module.main()
