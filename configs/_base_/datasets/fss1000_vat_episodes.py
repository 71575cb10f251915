# FSS-1000 as VAT trains and tests: HSNet's episodes at another size, with changes of colour.
_base_ = ['./fss1000_hsnet_episodes.py', './vat_pipelines.py']

size = _base_.vat_size
total_batch_size = 16  # over all processes
train_dataloader = dict(batch_size=total_batch_size, dataset=_base_.vat_train_pipelines)
val_dataloader = test_dataloader = dict(dataset=_base_.vat_test_pipelines)
