# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""What every other part of mmfss may use: files, configs, weights, number formats. It imports nothing of mmfss."""
