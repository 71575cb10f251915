# For photos of anything: PrototypeResidualHead trained on all classes of PASCAL VOC. No class is held out: it is meant
# to be used, and cannot be compared on PASCAL-5i. Tested on your own folder, CLASS/K.jpg with CLASS/K.png.
_base_ = './lite0_pascal_1shot.py'
work_dir = f'{_base_.work_root}/prototype_residual/lite0_photos'
folder = '{{$MMFSS_FOLDER:data/mine}}'

train_dataloader = dict(dataset=dict(dataset=dict(novel_classes=[])))
# Nothing is chosen by a score: the last weights count.
val_dataloader = val_evaluator = val_cfg = None
train_cfg = dict(val_interval=1000)
default_hooks = dict(checkpoint=dict(save_best=None))
test_dataloader = dict(
    dataset=dict(
        dataset=dict(_delete_=True, type='DividedFolderDataset', data_root=folder, train_images=5, phase='val'),
        protocol=dict(_delete_=True, type='BalancedProtocol', runs=3, episodes=200, seed=0),
    )
)
