# Copyright (c) mmfss contributors. Licensed under Apache-2.0.
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmfss.evaluation import FewShotIoUMetric
from mmfss.registry import HOOKS
from mmfss.utils.configs import config_name
from mmfss.version import __version__


@HOOKS.register_module()
class ResultFileHook(Hook):
    """Makes every test leave a JSON result file next to its log.

    Before the test it tells each FewShotIoUMetric of the test evaluator where the log lies and what
    is being tested (config, checkpoint); the metric itself writes
    ``results_<protocol>[_<support_control>].json`` there, or its ``out_file`` when it has one.
    Validation during training writes no file.
    """

    priority = 'VERY_HIGH'

    def before_test(self, runner: Runner) -> None:
        """Hand the metrics their output folder and the context that a result file carries."""
        config = runner.cfg.filename
        checkpoint = getattr(runner, '_load_from', None)
        context = {
            'config': config_name(config) if config else runner.experiment_name,
            'checkpoint': str(checkpoint) if checkpoint else None,
            'time': runner.timestamp,
            'mmfss_version': __version__,
        }
        for metric in runner.test_loop.evaluator.metrics:
            if isinstance(metric, FewShotIoUMetric):
                metric.out_dir = runner.log_dir
                metric.context = context
