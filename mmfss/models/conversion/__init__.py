# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .msanet import MSANET_KEYS, rename_msanet_keys

__all__ = ['MSANET_KEYS', 'rename_msanet_keys']
