# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .encoded_query import EncodedQuery
from .features import MASKED_LAST_STAGE, STAGES, BackboneFeatures
from .predictions import prediction_key
from .support_bank import SupportBank

__all__ = ['MASKED_LAST_STAGE', 'STAGES', 'BackboneFeatures', 'EncodedQuery', 'SupportBank', 'prediction_key']
