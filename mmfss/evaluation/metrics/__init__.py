# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .few_shot_iou_metric import FewShotIoUMetric
from .n_way_iou_metric import NWayIoUMetric

__all__ = ['FewShotIoUMetric', 'NWayIoUMetric']
