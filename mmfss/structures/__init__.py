# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .support_bank import SupportBank

__all__ = ['SupportBank']
