# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What dependencies say that nobody can act on is not shown; everything else is."""

import logging
import subprocess
import sys
import warnings

from mmfss.utils.dependency_noise import KnownMessages, silence_known_warnings, without_known_prints


def test_importing_says_nothing():
    code = 'import mmfss, mmfss.apis, mmfss.datasets, mmfss.engine, mmfss.evaluation, mmfss.models, mmfss.visualization'
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ('', '')


def test_other_prints_and_warnings_are_shown(capsys):
    with without_known_prints():
        print('Could not import OneDL')
        print('Could not import the moon')
    assert capsys.readouterr().out == 'Could not import the moon\n'
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        silence_known_warnings()
        known = 'Fail to import ``MultiScaleDeformableAttention`` from somewhere'
        module = 'mmcv.cnn.bricks.transformer'
        warnings.warn_explicit(known, UserWarning, 'transformer.py', 33, module=module)
        warnings.warn_explicit(known, UserWarning, 'other.py', 33, module='other')
        warnings.warn_explicit('Fail to import the moon', UserWarning, 'transformer.py', 34, module=module)
    assert [(str(w.message), w.filename) for w in caught] == [
        (known, 'other.py'),
        ('Fail to import the moon', 'transformer.py'),
    ]


def test_logged_messages_of_mmengine_about_itself():
    records = [
        logging.LogRecord('mmengine', logging.WARNING, '', 0, message, (), None)
        for message in ('"FileClient" will be deprecated in future. Please', 'The checkpoint is gone')
    ]
    assert [KnownMessages().filter(record) for record in records] == [False, True]
