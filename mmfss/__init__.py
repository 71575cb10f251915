# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""mmfss: few-shot semantic segmentation on OpenMMLab.

Importing this package checks the OpenMMLab versions and makes the scope ``mmfss`` known; the
components themselves are imported by the registries when one of them is first looked up (see
:mod:`mmfss.registry`).
"""

import warnings

import mmcv
import mmengine
import mmseg
from mmengine.utils import digit_version

from .utils.dependency_noise import silence_known_warnings, without_known_prints
from .version import __version__

# package -> (oldest version that works, first version nobody has tried yet)
_VERSIONS = {
    mmcv: ('2.0.1', '2.4.0'),
    mmengine: ('0.10.0', '0.11.0'),
    mmseg: ('1.2.0', '1.5.0'),
}


def _check_versions() -> None:
    """Refuse OpenMMLab packages that are too old, warn about ones newer than any tried.

    Raises:
        ImportError: When a package is older than the minimum; the message names the cure.
    """
    for package, (minimum, untried) in _VERSIONS.items():
        name, found = package.__name__, package.__version__
        if digit_version(found) < digit_version(minimum):
            raise ImportError(
                f'mmfss {__version__} needs {name} >= {minimum}, but {name} {found} is installed '
                f'at {package.__file__}. Run: pip install -U -r requirements/mminstall.txt'
            )
        if digit_version(found) >= digit_version(untried):
            warnings.warn(
                f'mmfss {__version__} was tested with {name} < {untried}; {name} {found} may behave differently.',
                stacklevel=3,
            )


_check_versions()

silence_known_warnings()
with without_known_prints():  # whoever imports them first hears what they print
    import mmseg.datasets

# mmseg's registries may only be touched once the versions are known to fit. The second makes mmengine read checkpoints
# by mmfss's rule, whoever asks it to.
from . import registry  # noqa: E402
from .utils import checkpoint_files as _checkpoint_files  # noqa: E402, F401

__all__ = ['__version__', 'registry']
