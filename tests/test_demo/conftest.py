# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""``web_demo`` lies beside the commands of ``demo``, which find it as Python finds what lies beside a script."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'demo'))
