# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""Which layers a backbone has to compute for the stages that heads ask for."""

from collections.abc import Sequence


def wanted_layers(stages: Sequence[str], known: Sequence[str], backbone: str) -> tuple[str, ...]:
    """The layers up to the last stage asked for.

    Args:
        stages (Sequence[str]): Names of the stages that are wanted.
        known (Sequence[str]): All layers of the backbone, in the order of computation.
        backbone (str): Its name, for the message.

    Raises:
        ValueError: When a stage is unknown.
    """
    if unknown := [stage for stage in stages if stage not in known]:
        raise ValueError(f'{backbone} has no stage {unknown}; it has {list(known)}')
    return tuple(known[: 1 + max(known.index(stage) for stage in stages)])
