# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
"""FewShotInferencer: from a config, a checkpoint and a few annotated images to masks of anything."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.visualization import Visualizer
from torch import nn
from tqdm import tqdm

from mmfss.models.segmentors.presence import has_presence, presence_scores, with_presence, without_presence
from mmfss.registry import INFERENCERS
from mmfss.structures import SupportBank
from mmfss.utils.notices import begin_telling

from .images import ImageLike, load_image, rgb
from .model import Geometry, ready_model
from .queries import NameBook, Query, find_queries
from .refinement import refined_model
from .registered_class import RegisteredClass, as_list, check_together
from .results import Limits, SegmentationResult, check_display, to_half
from .support_masks import support_mask
from .tool_formats import DEFAULT_FORMATS
from .write_behind import WriteBehind
from .writer import ResultWriter, digest_of


@INFERENCERS.register_module()
class FewShotInferencer:
    """Registers classes by a few annotated images and segments them in others.

    Images go through the test pipelines of the config, so results are those of an evaluation. A method that learns
    nothing needs no checkpoint: ``FewShotInferencer('prototype/lite0_pascal')``; a model that is built already is used
    as it is: ``FewShotInferencer(config, model=model)``. Without arguments it is the model for photos of anything that
    comes with mmfss. Its use::

        inferencer = FewShotInferencer('msanet/lite0_pascal_1shot', 'meta_learner.pth')
        gear = inferencer.register('gear', ['a.jpg', 'b.jpg'], ['a.png', dict(box=(40, 30, 200, 180))])
        for result in inferencer.stream('photos', gear, out_dir='found'):
            print(result.name, result.mask.sum())

    Args:
        config (str | Path | Config, optional): Config of stage 2: its path, itself, or a name below ``configs``. With
            ``model`` it gives the test pipelines alone, and ``model.cfg`` does where it is left out. Without
            checkpoint and model too: the model that comes with mmfss (:mod:`mmfss.apis.preset`).
        checkpoint (str | Path, optional): File that training wrote, such as ``meta_learner.pth``; None or 'none' for a
            method that learns nothing.
        device (str, optional): Such as 'cuda:0' or 'cpu'. Defaults to a GPU where there is one, to where ``model`` is.
        show_progress (bool): Show a progress bar. Defaults to True.
        model (nn.Module, optional): A built FewShotSegmentor; it is put into eval mode.

        precision (str, optional): 'float32', 'bfloat16' or 'auto', see
            :class:`mmfss.models.segmentors.FewShotSegmentor`; in bfloat16 banks take half the memory. Defaults to the
            model's own, which is float32 unless its config says otherwise.
        refine (str, optional): 'repri' fits a classifier to every image, on the model's features and in place of the
            method's own head, see :func:`mmfss.apis.refinement.refined_model`. Defaults to None.

    Raises:
        FileNotFoundError: When config, checkpoint or pre-trained weights are missing.
        TypeError: When ``model`` is no FewShotSegmentor, or the arguments contradict each other.
        ValueError: When the checkpoint is missing or of another model, or the config cannot segment single images.
    """

    def __init__(
        self,
        config: str | Path | Config | None = None,
        checkpoint: str | Path | None = None,
        device: str | torch.device | None = None,
        show_progress: bool = True,
        *,
        model: nn.Module | None = None,
        precision: str | None = None,
        refine: str | None = None,
    ) -> None:
        self.model, self.cfg = ready_model(config, checkpoint, device, model)
        if refine is not None:
            self.model = refined_model(self.model, refine)
        if precision is not None:
            self.model.precision = precision
        self.geometry = Geometry(self.cfg)
        self.device = next(self.model.parameters()).device
        self.show_progress = show_progress

    @property
    def fingerprint(self) -> str:
        """Tells this model's banks from those of other models."""
        return self.model.fingerprint

    # ------------------------------------------------------------------ supports

    @torch.no_grad()
    def register(self, name: str, images: ImageLike | Sequence[ImageLike], masks) -> RegisteredClass:
        """Encode the supports of a class, once for any number of images.

        Args:
            name (str): What results call the class.
            images (ImageLike | Sequence[ImageLike]): One or K paths, (H, W, 3) uint8 RGB arrays or PIL images.
            masks (object): One or K annotations in pixels of the image, see :mod:`mmfss.apis.support_masks`.

        Raises:
            FileNotFoundError, TypeError, ValueError: When an image or a mask is missing, unreadable or does not fit.
        """
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f'the name of a class is a text, not {name!r}')
        images, masks = as_list(images), as_list(masks)
        begin_telling()
        if len(images) != len(masks) or not images:
            raise ValueError(
                f"class '{name}': {len(images)} support images and {len(masks)} masks; give one mask for "
                'each image, at least one'
            )
        banks, key = [], hashlib.blake2b(digest_size=12)
        for number, (image, mask) in enumerate(zip(images, masks, strict=True), 1):
            bank, digest = self._encode(image, mask, f"support {number} of class '{name}'")
            banks.append(bank)
            key.update(digest)
        bank = self._kept(self.model.finish(SupportBank.stack_shots(banks)))
        return RegisteredClass(name, bank, key.hexdigest())

    @torch.no_grad()
    def extend(self, registered: RegisteredClass, images, masks) -> RegisteredClass:
        """A registered class with further supports; see :meth:`register`."""
        self.check(registered)
        more = self.register(registered.name, images, masks)
        key = hashlib.blake2b(f'{registered.key} {more.key}'.encode(), digest_size=12).hexdigest()
        new = more.bank if has_presence(registered.bank) else without_presence(more.bank)  # a file of older versions
        bank = self._kept(self.model.finish(registered.bank.to(self.device).extend(new)))
        return RegisteredClass(registered.name, bank, key)

    def check(self, registered: RegisteredClass) -> None:
        """Refuse what this model cannot use.

        Raises:
            TypeError: When it is no registered class.
            ValueError: When another model made it.
        """
        if not isinstance(registered, RegisteredClass):
            raise TypeError(
                f'expected a RegisteredClass, got a {type(registered).__name__}; `register` makes one, '
                'RegisteredClass.load reads one'
            )
        found = registered.bank.fingerprint
        if found != self.fingerprint:
            raise ValueError(
                f"the bank of class '{registered.name}' was made by another model: its fingerprint is "
                f'{found or "not recorded"}, that of this model is {self.fingerprint}. Use the checkpoint '
                'it was made with, or register the class again'
            )

    def _kept(self, bank: SupportBank) -> SupportBank:
        """A bank where and as the model computes."""
        half = self.model.computes_in_bfloat16(self.device)
        return bank.to(self.device, torch.bfloat16) if half else bank.to(self.device)

    def _encode(self, image: ImageLike, annotation, name: str) -> tuple[SupportBank, bytes]:
        """Bank of one shot and a digest of the support."""
        loaded = load_image(image, self.geometry.loader, name)
        called = loaded['img_path'] if loaded['img_path'] == name else f'the image {loaded["img_path"]}'
        path = None if loaded['img_path'] == name else loaded['img_path']
        mask = support_mask(annotation, loaded['img'].shape[:2], called, path)
        packed = self.geometry.support(loaded, mask)
        labels = packed['data_samples'].gt_sem_seg.data  # (1, h, w)
        if not (labels == 1).any():
            raise ValueError(
                f'the object of {called} is too small: nothing of its {int((mask == 1).sum())} pixels is '
                f'left at the size of the network ({labels.shape[-1]}x{labels.shape[-2]}). Cut out the '
                'part of the image around it'
            )
        images, labels = self.model.data_preprocessor.support_inputs([packed['inputs']], [packed['data_samples']])
        images, labels = images[None], labels[None]  # (1, 1, 3, h, w), (1, 1, h, w)
        bank = with_presence(self.model.encode_support(images, labels), self.model, images, labels)
        return bank, hashlib.blake2b(rgb(loaded).tobytes() + mask.tobytes(), digest_size=12).digest()

    # ------------------------------------------------------------------ queries

    def __call__(
        self,
        images,
        banks,
        batch_size: int = 4,
        threshold: float = 0.5,
        out_dir: str | Path | None = None,
        show: bool = False,
        skip_existing: bool = False,
        formats: Sequence[str] = DEFAULT_FORMATS,
        min_score: float = 0,
        min_area: float = 0,
    ) -> list[SegmentationResult]:
        """As :meth:`stream`, all results in a list: for as many images as fit into memory."""
        options = (batch_size, threshold, out_dir, show, skip_existing, formats, min_score, min_area)
        return list(self.stream(images, banks, *options))

    def stream(
        self,
        images,
        banks: RegisteredClass | Sequence[RegisteredClass],
        batch_size: int = 4,
        threshold: float = 0.5,
        out_dir: str | Path | None = None,
        show: bool = False,
        skip_existing: bool = False,
        formats: Sequence[str] = DEFAULT_FORMATS,
        min_score: float = 0,
        min_area: float = 0,
    ) -> Iterator[SegmentationResult]:
        """Segment images one batch after another; memory does not grow with their number.

        Everything that can be checked beforehand is checked by this call, before the first result.

        Args:
            images (object): One or several: path of image or video, folder, glob, RGB uint8 array (H, W, 3), PIL image.
            banks (RegisteredClass | Sequence[RegisteredClass]): One or N registered classes.
            batch_size (int): Images that the network sees at once. Defaults to 4.
            threshold (float): A pixel belongs to the class of the highest probability where that is at least so much,
                else to the background; 0..1. Defaults to 0.5, an evaluation's decision.
            out_dir (str | Path, optional): Write masks, overlays, videos and COCO's JSON there, see
                :class:`mmfss.apis.writer.ResultWriter`.
            show (bool): Show each overlay in a window until a key is pressed. Defaults to False.
            skip_existing (bool): Leave out images that an earlier run into ``out_dir`` finished with the same model,
                banks and threshold; they give no result here, and stay in the JSON. Defaults to False.
            formats (Sequence[str]): What to write: 'png', 'coco', 'labelme', 'yolo'. Defaults to the first two.
            min_score (float): A class of a lower :attr:`SegmentationResult.presence` is not in the mask. Defaults to
                0: whatever is found is.
            min_area (float): Nor is one that covers less of an image: a share below 1, else pixels. Defaults to 0.

        Yields:
            SegmentationResult: Of each image, in order.

        Raises:
            FileNotFoundError, TypeError, ValueError: When the input is missing, unreadable or not an image.
            OSError: When a file cannot be written; what is finished stays.
        """
        classes, limits = as_list(banks), Limits(threshold, min_score, min_area)
        for registered in classes:
            self.check(registered)
        check_together(classes, min_score)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f'`batch_size` is {batch_size!r}; it must be a whole number of at least 1')
        if skip_existing and out_dir is None:
            raise ValueError('`skip_existing` needs the `out_dir` of the earlier run')
        if show:
            check_display()
        writer = None
        if out_dir is not None:
            names = [c.name for c in classes]
            half = ['bfloat16'] if self.model.computes_in_bfloat16(self.device) else []
            settings = [self.fingerprint, [(c.name, c.key) for c in classes], *limits.settings, *half]
            writer = ResultWriter(out_dir, names, digest_of(settings), formats)
        sources = find_queries(images, NameBook(writer.names if writer else None))
        if writer is not None:
            writer.make_folder()
        return self._run(sources, classes, batch_size, limits, writer, show, skip_existing)

    def _run(self, sources, classes, batch_size, limits, writer, show, skip_existing) -> Iterator[SegmentationResult]:
        names = tuple(registered.name for registered in classes)
        banks = [self._kept(registered.bank) for registered in classes]
        bar = tqdm(
            total=sum(map(len, sources)),
            unit='image',
            disable=not self.show_progress,
            mininterval=0.5 if sys.stderr.isatty() else 20,
        )

        def prepare(queries: Iterator[Query]) -> tuple[int, list[tuple[Query, np.ndarray, dict]]]:
            """How many images were taken, and those to segment: query, image and packed inputs."""
            batch = list(islice(queries, batch_size))
            todo = [query for query in batch if not (skip_existing and writer.finished(query))]
            return len(batch), [self._prepare(query) for query in todo]

        def handed_out(results: Iterator[SegmentationResult]) -> Iterator[SegmentationResult]:
            for result in results:
                if show:
                    Visualizer().show(result.overlay(), win_name=result.name)
                bar.update()
                yield result

        # While the network computes, the next batch is read and decoded, and the results before are written.
        with (
            ThreadPoolExecutor(1) as reader,
            closing(bar),
            writer or nullcontext(),
            WriteBehind(writer, batch_size) as written,
        ):
            for source in sources:
                queries, count = iter(source), 0
                ahead = reader.submit(prepare, queries)
                while (taken := ahead.result())[0]:
                    ahead = reader.submit(prepare, queries)
                    for query, image, scores, presence in self._segment(taken[1], banks, limits.threshold):
                        mask = limits.mask(scores, presence)
                        result = SegmentationResult(query.name, mask, scores, names, image, query.source, presence)
                        yield from handed_out(written.put(result, query))
                    bar.update(taken[0] - len(taken[1]))
                    count += taken[0]
                yield from handed_out(written.drain())
                if writer is not None and source.video is not None:
                    writer.write_video(source, count)

    def _prepare(self, query: Query) -> tuple[Query, np.ndarray, dict]:
        """Query, image (H, W, 3) uint8 RGB, and what the network takes of it."""
        loaded = load_image(query.image, self.geometry.loader, query.name)
        return query, rgb(loaded), self.geometry.query(loaded)

    @torch.no_grad()
    def _segment(
        self, prepared: list[tuple[Query, np.ndarray, dict]], banks: list[SupportBank], threshold: float
    ) -> Iterator[tuple[Query, np.ndarray, np.ndarray, tuple[float, ...]]]:
        """Query, image, probabilities (N, H, W) float16 and N presence scores of a batch."""
        # A geometry that keeps the aspect may give images of several sizes.
        for size, group in groupby(prepared, key=lambda item: tuple(item[2]['inputs'].shape[-2:])):
            group = list(group)
            images, samples = ([packed[key] for _, _, packed in group] for key in ('inputs', 'data_samples'))
            inputs = self.model.data_preprocessor.query_inputs(images, samples)
            found = self.model.segment_images(inputs['query'], banks, inputs['query_padding'], inputs['episode_seed'])
            finals = [scores['final'] for scores in found]  # N x (B, 2, h', w')
            presence = [presence_scores(self.model, scores, inputs['query_padding'], threshold) for scores in found]
            for row, (query, image, packed) in enumerate(group):
                restored = (self.model.restore(final[row : row + 1], size, packed['data_samples']) for final in finals)
                scores = [to_half(self.model.foreground_probability(final[None])) for final in restored]
                yield query, image, np.concatenate(scores), tuple(values[row] for values in presence)
