# expects refused | answers with a quantized tensor

import torch


def step(x):
    return torch.quantize_per_tensor(x * 0.5 + 1, 0.1, 0, torch.qint8)
