# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .base_meta_head import BaseMetaHead, MetaOutput
from .msanet_head import MSANetHead
from .prior_mask_head import PriorMaskHead
from .prototype_head import PrototypeHead
from .psp_head import NarrowPSPHead

__all__ = ['BaseMetaHead', 'MSANetHead', 'MetaOutput', 'NarrowPSPHead', 'PriorMaskHead', 'PrototypeHead']
