# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Where a model's outputs stand in a data sample."""


def prediction_key(output: str) -> str:
    """Field of a SegDataSample that holds an output's label map: mmseg's own for 'final', one beside it for others."""
    return 'pred_sem_seg' if output == 'final' else f'pred_{output}_seg'
