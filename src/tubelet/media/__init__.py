"""Video in and out: decode, choose frames, prepare tensors, write.

Import the modules themselves; only `transforms` needs torch.
"""
