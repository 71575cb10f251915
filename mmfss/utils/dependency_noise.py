# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What dependencies print while they are imported and built, and what nobody who uses mmfss can act on.

Each is named by its own words: whatever else a dependency says is shown.
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator

# Printed by mmseg and mmpretrain, with the level DEBUG but without a logger, when a data set's own package is missing.
_PRINTED = ('Could not import OneDL',)

# (message, module): regular expressions that match from the beginning.
_WARNED = (
    # mmfss works with mmcv-lite: nothing of it uses the operator.
    (r'Fail to import ``MultiScaleDeformableAttention``', r'mmcv\.cnn\.bricks\.transformer'),
    # Stage 1 keeps mmseg's hook, so that a user may switch it on.
    (r'The draw is False, it means that the hook for visualization', r'mmseg\.engine\.hooks\.visualization_hook'),
)

# Logged by mmengine about calls of its own.
_LOGGED = (
    '"FileClient" will be deprecated in future',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    'The prefix is not set in metric class IoUMetric',  # mmseg's own names: mIoU, aAcc
)


def silence_known_warnings() -> None:
    """Ignore the warnings of dependencies that are known to be harmless, by message and module."""
    for message, module in _WARNED:
        warnings.filterwarnings('ignore', message=message, category=UserWarning, module=module)


class KnownMessages(logging.Filter):
    """Keeps out of a log what mmengine says of itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        return not record.getMessage().startswith(_LOGGED)


@contextlib.contextmanager
def without_known_prints() -> Iterator[None]:
    """Leave known lines out of what is printed meanwhile; the rest is printed at the end."""
    held = io.StringIO()
    try:
        with contextlib.redirect_stdout(held):
            yield
    finally:
        for line in held.getvalue().splitlines(keepends=True):
            if not line.startswith(_PRINTED):
                sys.stdout.write(line)
