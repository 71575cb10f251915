# COCO-20i as VAT trains and tests: as PASCAL-5i, at 417 pixels.
_base_ = ['./coco20i_hsnet_episodes.py', './vat_pipelines.py']

size = 417  # side of the network's input
squash = dict(type='SquashResize', size=size)


def at_size(pipelines):
    return {name: [squash if s['type'] == squash['type'] else s for s in steps] for name, steps in pipelines.items()}


total_batch_size = 16  # over all processes
train_dataloader = dict(batch_size=total_batch_size, dataset=at_size(_base_.vat_train_pipelines))
val_dataloader = test_dataloader = dict(dataset=at_size(_base_.vat_test_pipelines))
