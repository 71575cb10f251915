# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Recording the two graphs, and writing them as ONNX or as torch.export programs."""

import io
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from mmfss.utils.files import atomic_write

from .graphs import QuerySegmenter, SupportEncoder

ENCODER, SEGMENTER = 'support_encoder', 'segmenter'
OPSET = 20


def record(
    model: nn.Module, shots: int | None = None, size: int = 128
) -> tuple[dict[str, torch.export.ExportedProgram], list[str]]:
    """Record both graphs with image sizes that may differ between query and supports and from call to call.

    Args:
        model (nn.Module): See :func:`mmfss.deployment.exportable`.
        shots (int, optional): A fixed K. Defaults to None: any number.
        size (int): About the side of the images to record with. Defaults to 128.

    Returns:
        tuple: The programs by name, and the names of the bank's tensors in the order of outputs and inputs.

    Raises:
        RuntimeError: When torch is too old, or cannot record the model.
        ValueError: When the head has no graph.
    """
    if not hasattr(torch.compiler, 'is_exporting'):
        raise RuntimeError(f'export needs torch >= 2.7, this is {torch.__version__}')
    if reason := model.decode_head.cannot_export:
        raise ValueError(f'{type(model.decode_head).__name__} cannot be exported: {reason}')
    AUTO = torch.export.Dim.AUTO
    count = {} if shots else {0: AUTO}
    # Sides that differ from each other, or torch would take them to be equal always.
    images, masks = torch.rand(shots or 2, 3, size, size + 16), torch.ones(shots or 2, size, size + 16)
    masks[:, size // 2 :] = 0
    query = torch.rand(1, 3, size + 8, size - 8)
    encoder = SupportEncoder(model)
    with torch.no_grad():
        bank = encoder.encode(images, masks)
        segmenter = QuerySegmenter(model, list(bank))
        tensors = tuple(bank.values())
        follows = model.decode_head.open_dims()
        lengths = tuple(_open_dims(follows.get(name, ()), t, shots) for name, t in bank.items())
        programs = {
            ENCODER: torch.export.export(
                encoder,
                (images, masks),
                strict=False,
                dynamic_shapes=({**count, 2: AUTO, 3: AUTO}, {**count, 1: AUTO, 2: AUTO}),
            ),
            SEGMENTER: torch.export.export(
                segmenter, (query, *tensors), strict=False, dynamic_shapes=({2: AUTO, 3: AUTO}, lengths)
            ),
        }
    return programs, list(bank)


def _open_dims(follows: tuple[int, ...], tensor: Tensor, shots: int | None) -> dict:
    """Dimensions of a bank's tensor that a call may change: K, and what the head says follows from the supports."""
    AUTO = torch.export.Dim.AUTO
    return ({} if shots else {1: AUTO}) | {tensor.dim() + dim: AUTO for dim in follows}


def export_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Write a program that ``torch.export.load`` reads."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    atomic_write(buffer.getvalue(), path)


def export_onnx(program: torch.export.ExportedProgram, path: Path, inputs: list[str], outputs: list[str]) -> None:
    """Write a program as an ONNX graph.

    Args:
        program (torch.export.ExportedProgram): See :func:`record`.
        path (Path): The file.
        inputs (list[str]): Names of the graph's inputs, in order.
        outputs (list[str]): Names of its outputs, in order.

    Raises:
        RuntimeError: When an operator has no ONNX form.
    """
    graph = torch.onnx.export(
        program, (), None, input_names=inputs, output_names=outputs, opset_version=OPSET, dynamo=True, verbose=False
    ).model_proto
    _name_dimensions(graph)
    _forget_sources(graph.graph)
    for function in graph.functions:
        _forget_sources(function)
    atomic_write(graph.SerializeToString(), path)


def _name_dimensions(model) -> None:
    """Give the symbols s0, s1, ... the names of what they count."""
    names = {}
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        for place, dim in enumerate(dims):
            if re.fullmatch(r'[su]\d+', dim.dim_param):
                names.setdefault(dim.dim_param, _dimension_name(value.name, place, len(dims)))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r'\b[su]\d+\b', lambda found: names.get(found[0], found[0]), dim.dim_param)


def _dimension_name(tensor: str, place: int, rank: int) -> str:
    if tensor in ('images', 'masks'):
        return 'shots' if place == 0 else ('height', 'width')[place - rank + 2]
    if tensor in ('query', 'scores'):
        return ('height', 'width')[place - rank + 2]
    if place == 1:
        return 'shots'
    return f'{tensor}_{("h", "w")[place - rank + 2]}' if rank == 5 else f'{tensor.rsplit("_", 1)[0]}_length'


def _forget_sources(graph) -> None:
    """Remove file names and stack traces of this machine."""
    for part in (graph, *graph.node, *graph.value_info):
        if hasattr(part, 'metadata_props'):
            del part.metadata_props[:]
        part.doc_string = ''
