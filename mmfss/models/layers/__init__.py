# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from .adjustment import gram_matrix, scene_difference
from .aspp import MetaDecoder, PlainASPP
from .guided_attention import GuidedAttention
from .masks import agree_with_argmax, background, foreground, mask_pyramid, resize
from .multi_similarity import encode_block, similarity_map
from .pixel_classifier import unit_length
from .presence import presence_map, presence_score, presence_vectors
from .prior_mask import encode_prior, prior_mask
from .prototype import masked_average
from .reduction import concat_stages, reduction
from .shot_weighting import ShotWeighting, equal_weights
from .transductive_fit import FitRecipe, TransductiveFit, fit_classifier

__all__ = [
    'FitRecipe',
    'GuidedAttention',
    'MetaDecoder',
    'PlainASPP',
    'ShotWeighting',
    'TransductiveFit',
    'background',
    'concat_stages',
    'agree_with_argmax',
    'encode_block',
    'encode_prior',
    'equal_weights',
    'fit_classifier',
    'foreground',
    'gram_matrix',
    'mask_pyramid',
    'masked_average',
    'presence_map',
    'presence_score',
    'presence_vectors',
    'prior_mask',
    'reduction',
    'resize',
    'scene_difference',
    'similarity_map',
    'unit_length',
]
