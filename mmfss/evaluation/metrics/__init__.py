# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .few_shot_iou_metric import FewShotIoUMetric

__all__ = ['FewShotIoUMetric']
