# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .predictions import prediction_key
from .support_bank import SupportBank

__all__ = ['SupportBank', 'prediction_key']
