# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Checkpoints and banks: weights that fit, or a refusal that names the file; whatever it holds, nothing is run."""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict

import torch
from fuzzing import Refusal, Trap, attempt, folder, written
from hypothesis import example, given
from hypothesis import strategies as st
from mmengine.runner import CheckpointLoader
from mutations import NUMBERS, TEXTS, damaged, mangled
from torch import nn

from mmfss.apis import RegisteredClass
from mmfss.engine.model_loading import meta_differences
from mmfss.structures import SupportBank
from mmfss.utils.checkpoint_meta import base_learner_differences
from mmfss.utils.weights import check_pretrained, load_base_learner, load_weights, model_state, read_checkpoint


class Model(nn.Module):
    """As much of a segmentor as the loaders look at."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.base_head = nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)


def good() -> dict:
    """What training writes, in small."""
    state = OrderedDict((key, torch.ones_like(value)) for key, value in Model().state_dict().items())
    stage_1 = {key.replace('base_head', 'decode_head'): value for key, value in state.items()}
    meta = dict(
        fold=0, base_class_names=['a', 'b'], dataset_meta=dict(fold=0, class_names=('a', 'b'), base_class_ids=(0, 1))
    )
    return dict(meta=meta, state_dict=dict(state, **stage_1), optimizer=dict(state={0: dict(step=1)}), message_hub={})


def bank() -> dict:
    """A bank of one episode and two shots, as a registered class writes it."""
    tensors = {'meta.prototype': torch.ones(1, 2, 3), 'base.gram': torch.ones(1, 2, 4, 4)}
    made = SupportBank(tensors, 'f', {'meta.prototype': (-1,)}, {'meta.mean': torch.ones(1, 3)}, True)
    return dict(name='gear', key='k', **made.state())


TENSORS = st.sampled_from(
    [
        torch.zeros(0),
        torch.tensor(1.0),
        torch.ones(2, 3),
        torch.full((2,), float('nan')),
        torch.full((2, 1, 1, 1), float('inf')),
        torch.ones(2, 1, 1, 1, dtype=torch.complex64),
        torch.ones(2, dtype=torch.int8),
        torch.ones(2, dtype=torch.bfloat16),
        torch.eye(2).to_sparse(),
        torch.ones(1, 2).expand(100_000, 2),
        nn.Parameter(torch.ones(2)),
        torch.ones(2, device='meta'),
    ]
)
VALUES = st.one_of(
    TENSORS, TENSORS, NUMBERS, TEXTS, st.sampled_from([None, True, [], {}, (), [1], b'x', {1: 2}, {'a': torch.ones(1)}])
)


def saved(content, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def load_all_ways(data: bytes, name: str = 'model.pth') -> None:
    """A file as every kind of checkpoint and bank."""
    with folder() as place:
        path = written(place, name, data)
        called = str(path)
        content = attempt(lambda: read_checkpoint(path), called)
        if not isinstance(content, Refusal):
            model = Model()
            attempt(lambda: load_weights(model, model_state(content), f'{path} does not fit'), called)
            assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
            meta = content.get('meta', {})
            ours = dict(fold=1, class_names=('x',), base_class_ids=(0,))
            attempt(lambda: base_learner_differences(meta, ours), '')
            attempt(lambda: meta_differences(ours, meta.get('dataset_meta')), '')
        attempt(lambda: load_base_learner(Model(), called), called)
        attempt(lambda: check_pretrained(Model().backbone, called, 'backbone'), called)
        attempt(lambda: CheckpointLoader.load_checkpoint(called, 'cpu'), called)
        for load in (SupportBank.load, RegisteredClass.load):
            found = attempt(lambda load=load: load(called), called)
            assert isinstance(found, Refusal | SupportBank | RegisteredClass)
            if isinstance(found, RegisteredClass):
                assert isinstance(found.name, str) and found.num_shots >= 1 and found.nbytes >= 0
        assert not Trap.sprung(), 'code of the file was run'


@given(content=st.deferred(lambda: mangled(good(), VALUES)), zipped=st.booleans())
@example(content=dict(good(), meta=dict(fold=torch.zeros(0))), zipped=True)
@example(content=dict(good(), meta=dict(dataset_meta=torch.ones(2))), zipped=True)
@example(content=dict(good(), meta=dict(base_class_names=1.0)), zipped=True)
@example(content=dict(state_dict={'backbone.weight': torch.ones(2, device='meta')}), zipped=True)
def test_a_checkpoint_of_other_values(content, zipped):
    try:
        data = saved(content, _use_new_zipfile_serialization=zipped)
    except Exception:  # torch does not save it
        return
    load_all_ways(data)


@given(content=st.deferred(lambda: mangled(bank(), VALUES)), zipped=st.booleans())
@example(content=dict(bank(), summary=1.0), zipped=True)
@example(content=dict(bank(), summary=torch.ones(2)), zipped=True)
@example(content=dict(bank(), tensors={}), zipped=True)
@example(content=dict(bank(), name=torch.zeros(0)), zipped=True)
@example(content=dict(bank(), key=torch.zeros(0)), zipped=True)
def test_a_bank_of_other_values(content, zipped):
    try:
        data = saved(content, _use_new_zipfile_serialization=zipped)
    except Exception:
        return
    load_all_ways(data)


@given(
    data=st.deferred(
        lambda: st.sampled_from(
            [saved(c, _use_new_zipfile_serialization=z) for c in (good(), bank()) for z in (True, False)]
        )
    ).flatmap(damaged)
)
def test_a_damaged_file(data):
    load_all_ways(data)


@given(
    kind=st.sampled_from(['open', 'eval', 'system']),
    place=st.sampled_from(['meta', 'state_dict', 'optimizer', 'message_hub', None]),
    how=st.sampled_from(['zip', 'old', 'pickle']),
    protocol=st.integers(0, 5),
    data=st.data(),
)
def test_no_code_is_run(kind, place, how, protocol, data):
    content = Trap(kind) if place is None else {**good(), place: Trap(kind)}
    if how == 'pickle':
        made = pickle.dumps(content, protocol)
    else:
        made = saved(content, _use_new_zipfile_serialization=how == 'zip', pickle_protocol=max(protocol, 2))
    load_all_ways(data.draw(damaged(made)) if data.draw(st.booleans()) else made)


OPERATIONS = [operation.code.encode('latin-1') for operation in pickletools.opcodes]


@given(
    parts=st.lists(
        st.sampled_from(OPERATIONS)
        | st.sampled_from(
            [
                b'os\nsystem\n',
                b'builtins\neval\n',
                b'\x02',
                b'K\x01',
                b'torch\nload\n',
                b'collections\nOrderedDict\n',
                b'numpy._core.multiarray\n_reconstruct\n',
            ]
        )
        | st.binary(max_size=4),
        max_size=30,
    )
)
def test_any_pickle(parts):
    body = b'\x80\x02' + b''.join(parts) + b'.'
    load_all_ways(body)
    load_all_ways(_zip_with(body))


def _zip_with(body: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        archive.writestr('archive/data.pkl', body)
        archive.writestr('archive/version', b'3\n')
    return stream.getvalue()


@given(
    data=st.binary(max_size=200),
    head=st.sampled_from(
        [
            b'',
            b'PK\x03\x04',
            b'PK\x05\x06',
            b'\x80\x02',
            b'\x1f\x8b',
            b'\x93NUMPY',
            b'<html>',
            b'version https://git-lfs',
            b'\0' * 300,
        ]
    ),
)
def test_any_bytes(data, head):
    load_all_ways(head + data)
