# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .encoded_query import EncodedQuery
from .feature_file import FeatureFile
from .features import MASKED_LAST_STAGE, STAGES, BackboneFeatures, BlockVisitor, Size
from .named_maps import MapPlan
from .predictions import prediction_key
from .support_bank import SupportBank

__all__ = [
    'MASKED_LAST_STAGE',
    'STAGES',
    'BackboneFeatures',
    'BlockVisitor',
    'EncodedQuery',
    'FeatureFile',
    'MapPlan',
    'Size',
    'SupportBank',
    'prediction_key',
]
