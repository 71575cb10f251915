# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""The competitors of a setup, and whether they give the same result."""

import copy
from collections.abc import Sequence

from mmfss.utils.plain_errors import StopError

from .competitors import Competitor, Own
from .models import Setup, build_model, set_precision, without_cache
from .plain import PlainMSANet, can_be_plain
from .released_hsnet import ReleasedHSNet
from .released_msanet import ReleasedMSANet
from .released_vat import ReleasedVAT
from .timing import Run

WANTED_DEVIATION = 1e-4  # of the peer's `final`, in standard deviations
MOST_DEVIATION = 1e-3  # random weights enlarge rounding errors; beyond this it is another result


def line_up(setup: Setup, only: str | None = None) -> list[Competitor]:
    """Our model in each precision, and the peer: the released code, else the plain implementation, else none.

    Args:
        setup (Setup): What is measured.
        only (str, optional): Keep the one of this name and nothing of the others.

    Raises:
        FileNotFoundError: When a config, checkpoint or checkout is missing.
        ValueError: When the peer has no such model, or ours no such precision.
    """
    model = build_model(setup)
    found: list[Competitor] = []
    for precision in setup.precisions:
        if only in (None, own_name(precision)):
            one = set_precision(without_cache(copy.deepcopy(model)), precision)
            found.append(Own(own_name(precision), one, setup, precision))
    if setup.reference and only in (None, 'released'):
        kinds = dict(HSNetHead=ReleasedHSNet, VATHead=ReleasedVAT)
        kind = kinds.get(type(model.decode_head).__name__, ReleasedMSANet)
        found.append(kind(setup.reference, model, setup))
    elif setup.plain and not setup.reference and can_be_plain(model) and only in (None, 'plain'):
        found.append(PlainMSANet(setup.plain, model, setup))
    return found


def own_name(precision: str) -> str:
    """What mmfss is called in a precision."""
    return f'mmfss {precision}'


def peer_of(competitors: Sequence[Competitor]) -> Competitor | None:
    """The competitor that ratios refer to."""
    return next((one for one in competitors if not isinstance(one, Own)), None)


def single_call(setup: Setup, name: str, measure: str) -> Run:
    """One competitor's call of a measure, warmed up by nothing; for a process of its own."""
    (one,) = line_up(setup, only=name)
    return one.prepare(measure, 0)


def agreement(competitors: Sequence[Competitor], setup: Setup) -> dict[str, dict[str, float]]:
    """How far each ``final`` is from that of the peer; without a peer from the first competitor's.

    Returns:
        dict: Name -> ``deviation``, the largest over the standard deviation, ``wanted``, the most that float32 should
        have, and ``equal_pixels``, the share of pixels with the same label.

    Raises:
        StopError: When mmfss in float32 does not compute what the peer computes: their times would mean nothing.
    """
    anchor = peer_of(competitors) or competitors[0]
    inputs = setup.episode(-500)
    for one in competitors:
        one.train(False)
    expected = anchor.scores(inputs)['final'].float()
    found = {}
    for one in competitors:
        if one is anchor:
            continue
        final = one.scores(inputs)['final'].float()
        found[one.name] = dict(
            deviation=float((final - expected).abs().max() / expected.std()),
            wanted=WANTED_DEVIATION,
            equal_pixels=float((final.argmax(1) == expected.argmax(1)).float().mean()),
        )
        exact = isinstance(one, Own) and one.precision == 'float32'
        if exact and not found[one.name]['deviation'] <= MOST_DEVIATION:
            raise StopError(
                f'{one.name} and {anchor.name} differ by {found[one.name]["deviation"]:.1e} standard deviations of '
                f'`final`, more than {MOST_DEVIATION:.0e}: they do not compute the same'
            )
    return found
