# PFENet on COCO-20i: SGD, 50 epochs, 8 episodes a step on one GPU, poly per iteration; 0.005 with a tenfold group
# factor. (The published recipe has 0.2 for 32 episodes on four GPUs.)
_base_ = './coco_meta.py'

optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=8)
