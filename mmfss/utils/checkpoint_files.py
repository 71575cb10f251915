# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The one door through which every checkpoint comes in: weights and plain values only, unless the file is trusted.

A pickle can run code when it is read, and checkpoints are pickles. torch reads them without that (``weights_only``),
mmengine falls back to the dangerous way as soon as a file holds anything else, and below torch 2.6 takes it at once.
Importing mmfss therefore puts this reader in place of mmengine's for local files and for addresses, so that
``load_from``, ``--resume``, ``init_cfg=dict(type='Pretrained')`` and every tool of mmfss go by one rule.
"""

import argparse
import os
import pickletools
import re
import urllib.error
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_dist_info
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor

from .checkpoint_meta import wrong_meta
from .file_kinds import foreign_kind
from .safe_types import plain_types
from .wording import listed

TRUST_VARIABLE = 'MMFSS_TRUST_CHECKPOINT'
TRUST_OPTION = '--trust-checkpoint'
_SHOWN = 4  # keys that a message names


class CheckpointFileError(ValueError):
    """A file that is no usable checkpoint; ``reason`` is the message without the file's name."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f'{path} {reason}')
        self.reason = reason


class UntrustedCheckpointError(CheckpointFileError):
    """A checkpoint that holds more than weights and plain values; reading it could run code."""


def trust_checkpoints() -> None:
    """Read files with Python objects too, in this process and the ones that it starts: ``--trust-checkpoint``."""
    os.environ[TRUST_VARIABLE] = '1'


def are_trusted() -> bool:
    """Whether the user said that the checkpoints are trusted, by option or environment variable."""
    return os.environ.get(TRUST_VARIABLE, '').lower() in ('1', 'true', 'yes', 'on')


class _Trust(argparse.Action):
    """Takes effect when the option is read, so that no tool can forget to hand it on."""

    def __init__(self, option_strings, dest, **kwargs) -> None:
        super().__init__(option_strings, dest, nargs=0, default=False, **kwargs)

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, True)
        trust_checkpoints()


def add_trust_option(parser: argparse.ArgumentParser, *aliases: str) -> None:
    """Add ``--trust-checkpoint``, which acts by itself as soon as it is parsed.

    Args:
        parser (ArgumentParser): Of a tool that reads checkpoints.
        *aliases (str): Older names of the option.
    """
    parser.add_argument(
        TRUST_OPTION,
        *aliases,
        dest='trust_checkpoint',
        action=_Trust,
        help='read checkpoints that hold Python objects too; they can run code: only for files whose origin you trust',
    )


def is_address(path: str | os.PathLike) -> bool:
    """Whether a path names something on another machine (``https://...``, ``torchvision://...``)."""
    return '://' in str(path)


def read_file(path: str | os.PathLike, map_location: Any = 'cpu', trust: bool | None = None) -> Mapping:
    """The content of a local checkpoint file.

    Args:
        path (str | PathLike): The file.
        map_location (Any): Where tensors go, as in ``torch.load``.
        trust (bool, optional): Read a file with Python objects as well. Defaults to what the user said for all files.

    Returns:
        Mapping: As it was saved; it holds weights, all of them finite.

    Raises:
        FileNotFoundError: When there is no such file.
        UntrustedCheckpointError: When it holds more than weights and plain values and is not trusted.
        CheckpointFileError: When it is something else, cut off, or holds no weights or ones that are not finite.
    """
    path = os.path.expanduser(str(path))
    if os.path.isdir(path):
        raise CheckpointFileError(path, 'is a folder: give the checkpoint file in it')
    if not os.path.exists(path):
        raise FileNotFoundError(f'there is no checkpoint {path}')
    if not os.path.isfile(path):
        raise CheckpointFileError(path, 'is no ordinary file')
    if (kind := foreign_kind(path)) is not None:
        raise CheckpointFileError(path, f'is no checkpoint: it is {kind}')
    trust = are_trusted() if trust is None else trust
    try:
        if trust:
            content = torch.load(path, map_location=map_location, weights_only=False)
        else:
            with plain_types():
                content = torch.load(path, map_location=map_location, weights_only=True)
    except OSError:
        raise  # names the file; its rights or its disk are at fault
    except torch.cuda.OutOfMemoryError:
        raise
    except Exception as error:  # torch, pickle, zip and struct each have their own
        raise _explain(path, error, trust) from error
    _check(path, content)
    return content


def _explain(path: str, error: Exception, trusted: bool) -> CheckpointFileError:
    """What torch found, as one line."""
    text = ' '.join(str(error).split())
    found = re.search(r'GLOBAL (\S+) (?:was|whose)', text)
    reduced = re.search(
        r'(?:reduce for unrecognized function|Can only (?:build|create|set|append).*? got) (.+)$', text, re.I
    )
    if not trusted and (found or reduced):
        what = found.group(1) if found else reduced.group(1)[:80]
        return UntrustedCheckpointError(
            path,
            f'holds Python objects ({what}); reading them can run code, so it was not read. If you trust where it '
            f'comes from, add {TRUST_OPTION} (or set {TRUST_VARIABLE}=1)',
        )
    if 'tar' in text and 'weights_only' in text:
        return UntrustedCheckpointError(
            path,
            f'is in the tar format of torch before 0.2, which can run code. If you trust it, add {TRUST_OPTION}',
        )
    if isinstance(error, ModuleNotFoundError | AttributeError) and trusted:
        return CheckpointFileError(path, f'holds objects of code that is not here ({text[:120]})')
    if re.search(r'Unsupported operand \d+', text) and _is_whole_pickle(path):
        return UntrustedCheckpointError(
            path,
            'is a pickle of a newer protocol than torch reads without running code. If you trust where it comes from, '
            f'add {TRUST_OPTION} (or set {TRUST_VARIABLE}=1)',
        )
    return CheckpointFileError(
        path, f'is no checkpoint, or cut off or damaged ({type(error).__name__}: {text[:100]}). Fetch or copy it again'
    )


def _is_whole_pickle(path: str) -> bool:
    """Whether the file is one pickle from its first byte on; reads the operations, runs none."""
    try:
        with open(path, 'rb') as stream:
            return any(operation.name == 'STOP' for operation, _, _ in pickletools.genops(stream))
    except Exception:  # whatever the parser trips over: it is none
        return False


def weights_in(content: Mapping) -> Mapping[str, Tensor]:
    """The weights of a checkpoint: under 'state_dict', bare, or under another single name such as 'model'."""
    if 'state_dict' in content:
        return content['state_dict'] if isinstance(content['state_dict'], Mapping) else {}
    if any(isinstance(value, Tensor) for value in content.values()):
        return content
    nested = [value for value in content.values() if isinstance(value, Mapping)]
    return next((state for state in nested if any(isinstance(value, Tensor) for value in state.values())), {})


def not_finite(state: Mapping[str, Any]) -> list[str]:
    """Names of the tensors that hold NaN or infinity; masks may hold infinity."""
    found = []
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
            continue
        tensor = tensor.detach()
        bad = tensor.isnan() if 'mask' in name.rsplit('.', 1)[-1] else ~tensor.isfinite()
        if bool(bad.any()):
            found.append(name)
    return found


def some(names: Iterable) -> str:
    """The first few names and how many more there are."""
    return listed(names, _SHOWN)


def _check(path: str, content: Any) -> None:
    """Refuse a content without weights, or with weights that a diverged training left."""
    state = weights_in(content) if isinstance(content, Mapping) else {}
    if not any(isinstance(value, Tensor) for value in state.values()):
        found = f'a {type(content).__name__}'
        if isinstance(content, Mapping):
            found = some([str(key) for key in content]) or 'nothing'
        raise CheckpointFileError(path, f'holds no state dict, bare or under state_dict; found: {found}')
    if (wrong := wrong_meta(content.get('meta', {}))) is not None:
        raise CheckpointFileError(path, f'holds {wrong}')
    if empty := [name for name, value in state.items() if isinstance(value, Tensor) and value.is_meta]:
        raise CheckpointFileError(path, f'holds names without values (device meta): {some(empty)}')
    if names := not_finite(state):
        raise CheckpointFileError(
            path,
            f'holds weights that are not finite (NaN or infinity): {some(names)}. Its training diverged; '
            'take an earlier checkpoint',
        )


def fetch(address: str) -> str:
    """The local copy of a file on a web server, which is fetched when it is not there yet.

    Args:
        address (str): ``https://...``, or a name of mmengine's: ``torchvision://``, ``openmmlab://``, ``mmcls://``.

    Returns:
        str: Path in torch's cache.

    Raises:
        OSError: When it cannot be fetched.
        ValueError: When the name or the kind of address is unknown.
    """
    url = _web_address(address)
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, os.path.basename(urlparse(url).path))
    rank, processes = get_dist_info()
    if rank == 0 and not os.path.isfile(path):
        os.makedirs(folder, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, path)  # into a hidden file first
        except (urllib.error.URLError, OSError, ValueError, RuntimeError) as error:
            raise OSError(f'{address} could not be fetched ({error}). Fetch it by hand and give the file') from error
    if processes > 1:
        barrier()
    return path


def _web_address(address: str) -> str:
    scheme, name = address.split('://', 1)
    if scheme in ('http', 'https'):
        return address
    lists = {
        'modelzoo': mmengine_checkpoint.get_torchvision_models,
        'torchvision': mmengine_checkpoint.get_torchvision_models,
        'open-mmlab': mmengine_checkpoint.get_external_models,
        'openmmlab': mmengine_checkpoint.get_external_models,
        'mmcls': mmengine_checkpoint.get_mmcls_models,
    }
    if scheme not in lists:
        raise ValueError(f'{address}: mmfss reads no checkpoints from {scheme}://. Fetch the file and give its path')
    known = lists[scheme]()
    if scheme in ('open-mmlab', 'openmmlab'):
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    if not str(known.get(name, '')).startswith('http'):
        raise ValueError(f'{address}: no checkpoint of that name is known to mmengine')
    return known[name]


def load_from_mmfss(filename: str, map_location: Any = None) -> Mapping:
    """What mmengine calls instead of its own readers; mmengine prints the end of this function's name."""
    path = fetch(filename) if is_address(filename) else filename
    content = read_file(path, map_location)
    return mmengine_checkpoint._process_mmcls_checkpoint(content) if filename.startswith('mmcls://') else content


# mmengine takes the first expression that matches, in reversed alphabetical order; '' matches everything.
CheckpointLoader.register_scheme(prefixes=list({'', *CheckpointLoader._schemes}), loader=load_from_mmfss, force=True)
