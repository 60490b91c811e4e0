"""A U-Net of segmentation_models.pytorch with a ResNet or VGG encoder, from its state dict in a `.safetensors` file.

The network is that of the library's `Unet` with its own defaults (nearest upsampling, skips joined behind it, no
attention); encoders are torchvision's `resnet*` (He et al. 2015, arXiv 1512.03385) and `vgg*` (Simonyan and Zisserman
2014, arXiv 1409.1556), with and without batch normalisation. Which of them it is shows in the names and shapes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segapp.conversion.foreign import Foreign, missing_package
from segapp.errors import InputError

if TYPE_CHECKING:
    import keras
    from keras import KerasTensor

_EPSILON = 1e-5  # PyTorch's of batch normalisation
_REMEDY = "write it with torch.onnx.export(model.eval(), ...), and convert that .onnx file"


def read_smp(path: Path) -> Foreign:
    """The network whose weights a ``.safetensors`` file holds.

    Raises InputError, naming the tensor, where the file is damaged or holds another network: the names of a state dict
    do not say how its layers are joined.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        raise missing_package(path, "safetensors") from None
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path}: cannot be read as safetensors ({reason}); save it in float32, or again") from None
    tensors = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    try:
        model = _Builder(path, tensors).network()
    except ValueError as error:  # Keras' of maps that do not fit each other
        reason = next(iter(str(error).splitlines()))
        raise InputError(f"{path}: its tensors do not fit each other ({reason}); {_REMEDY}") from None
    return Foreign(
        model,
        "segmentation_models.pytorch",
        unchecked="a state dict cannot be run; compare maps before you rely on it",
    )


class _Builder:
    """Builds the network layer by layer from the tensors it needs, and notices those that nothing needs."""

    def __init__(self, path: Path, tensors: dict[str, np.ndarray]) -> None:
        self._path = path
        self._tensors = tensors
        self._unused = set(tensors)

    def network(self) -> keras.Model:
        import keras

        blocks = self._count(r"decoder\.blocks\.(\d+)\.conv1\.0\.weight")
        resnet = "encoder.conv1.weight" in self._tensors
        if not blocks or not (resnet or "encoder.features.0.weight" in self._tensors):
            raise self._foreign(min(self._tensors, default=""))
        first = self._tensors["encoder.conv1.weight" if resnet else "encoder.features.0.weight"]
        image = keras.Input((None, None, first.shape[1] if first.ndim == 4 else 1), name="image")
        features = (self._resnet(image) if resnet else self._vgg(image))[:blocks]
        x = features[-1]
        if "decoder.center.0.0.weight" in self._tensors:
            x = self._norm_relu(x, "decoder.center.0")
            x = self._norm_relu(x, "decoder.center.1")
        for block in range(blocks):
            name = f"decoder.blocks.{block}"
            x = keras.layers.UpSampling2D(2, name=f"decoder_blocks_{block}_upsampling")(x)
            if block < blocks - 1:
                skip = features[-2 - block]
                x = keras.layers.Concatenate(name=f"decoder_blocks_{block}_concat")([x, skip])
            x = self._norm_relu(x, f"{name}.conv1")
            x = self._norm_relu(x, f"{name}.conv2")
        model = keras.Model(image, self._head(x))
        if self._unused:
            raise self._foreign(min(self._unused))
        return model

    def _resnet(self, x: KerasTensor) -> list[KerasTensor]:
        """The maps at 1/2, 1/4, ..., 1/32 of the image's size."""
        from keras import layers

        x = self._convolution(x, "encoder.conv1", stride=2)
        x = layers.ReLU(name="encoder_relu")(self._batch_norm(x, "encoder.bn1"))
        features = [x]
        x = layers.ZeroPadding2D(1, name="encoder_maxpool_padding")(x)  # nothing is below 0 behind a ReLU
        x = layers.MaxPooling2D(3, strides=2, name="encoder_maxpool")(x)
        for stage in range(1, 5):
            for block in range(self._count(rf"encoder\.layer{stage}\.(\d+)\.conv1\.weight")):
                x = self._residual(x, f"encoder.layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1)
            features.append(x)
        return features

    def _residual(self, x: KerasTensor, name: str, stride: int) -> KerasTensor:
        """A block of two 3x3 convolutions, or of 1x1, 3x3 and 1x1, the first 3x3 of which has the stride."""
        from keras import layers

        convolutions = 3 if f"{name}.conv3.weight" in self._tensors else 2
        strided = 2 if convolutions == 3 else 1
        straight = x
        for number in range(1, convolutions + 1):
            x = self._convolution(x, f"{name}.conv{number}", stride=stride if number == strided else 1)
            x = self._batch_norm(x, f"{name}.bn{number}")
            if number < convolutions:
                x = layers.ReLU(name=_layer(f"{name}.relu{number}"))(x)
        if f"{name}.downsample.0.weight" in self._tensors:
            straight = self._convolution(straight, f"{name}.downsample.0", stride=stride)
            straight = self._batch_norm(straight, f"{name}.downsample.1")
        x = layers.Add(name=_layer(f"{name}.add"))([x, straight])
        return layers.ReLU(name=_layer(f"{name}.relu"))(x)

    def _vgg(self, x: KerasTensor) -> list[KerasTensor]:
        """The maps at 1/2, 1/4, ..., 1/32: each but the last is taken before the pooling that follows it."""
        from keras import layers

        found = [re.fullmatch(r"encoder\.features\.(\d+)\.weight", name) for name in self._tensors]
        indexes = sorted(int(match[1]) for match in found if match and self._tensors[match[0]].ndim == 4)
        if not indexes:
            raise self._foreign("encoder.features.0.weight")
        step = 3 if f"encoder.features.{indexes[0] + 1}.weight" in self._tensors else 2  # convolution, norm, ReLU
        features = []
        for number, index in enumerate(indexes):
            x = self._convolution(x, f"encoder.features.{index}")
            if step == 3:
                x = self._batch_norm(x, f"encoder.features.{index + 1}")
            x = layers.ReLU(name=f"encoder_features_{index + step - 1}")(x)
            if indexes[number + 1 : number + 2] != [index + step]:
                features.append(x)
                x = layers.MaxPooling2D(2, name=f"encoder_features_{index + step}")(x)
        return [*features[1:], x]

    def _head(self, x: KerasTensor) -> KerasTensor:
        kernel = self._take("segmentation_head.0.weight", 4)
        bias = self._take("segmentation_head.0.bias", 1)
        if kernel.shape[1] != x.shape[-1] or kernel.shape[2] % 2 == 0 or len(bias) != len(kernel):
            raise self._foreign("segmentation_head.0.weight")
        from segapp.conversion.head import classifier, neighbours

        x, weights = neighbours(x, kernel.transpose(2, 3, 1, 0), "segmentation_head_neighbours")
        return classifier(x, weights, bias, "segmentation_head")

    def _norm_relu(self, x: KerasTensor, name: str) -> KerasTensor:
        from keras import layers

        x = self._convolution(x, f"{name}.0")
        if f"{name}.1.weight" in self._tensors:
            x = self._batch_norm(x, f"{name}.1")
        return layers.ReLU(name=_layer(f"{name}.relu"))(x)

    def _convolution(self, x: KerasTensor, name: str, stride: int = 1) -> KerasTensor:
        """A convolution that pads by half of its kernel on every side, as PyTorch does; Keras pads less at a stride."""
        from keras import layers

        kernel = self._take(f"{name}.weight", 4)
        filters, channels, side, _ = kernel.shape
        if channels != x.shape[-1] or side % 2 == 0 or kernel.shape[3] != side:
            raise self._foreign(f"{name}.weight")
        weights = [kernel.transpose(2, 3, 1, 0)]
        if f"{name}.bias" in self._tensors:
            weights.append(self._take(f"{name}.bias", 1))
        padding = "same"
        if stride > 1:
            padding = "valid"
            if side > 1:
                x = layers.ZeroPadding2D(side // 2, name=_layer(f"{name}.padding"))(x)
        layer = layers.Conv2D(
            filters, side, strides=stride, padding=padding, use_bias=len(weights) == 2, name=_layer(name)
        )
        x = layer(x)
        layer.set_weights(weights)
        return x

    def _batch_norm(self, x: KerasTensor, name: str) -> KerasTensor:
        from keras import layers

        weights = [self._take(f"{name}.{part}", 1) for part in ("weight", "bias", "running_mean", "running_var")]
        if any(len(values) != x.shape[-1] for values in weights):
            raise self._foreign(f"{name}.weight")
        layer = layers.BatchNormalization(epsilon=_EPSILON, name=_layer(name))
        x = layer(x)
        layer.set_weights(weights)
        return x

    def _take(self, name: str, axes: int) -> np.ndarray:
        self._unused.discard(name)
        if name not in self._tensors or self._tensors[name].ndim != axes:
            raise self._foreign(name)
        return self._tensors[name].astype(np.float32)

    def _count(self, pattern: str) -> int:
        """How many blocks have a name that matches, counted from 0."""
        return len({match[1] for name in self._tensors if (match := re.fullmatch(pattern, name))})

    def _foreign(self, name: str) -> InputError:
        return InputError(
            f"{self._path}: is no U-Net of segmentation_models.pytorch with a resnet or vgg encoder "
            f"(see its tensor '{name}'); {_REMEDY}"
        )


def _layer(name: str) -> str:
    return name.replace(".", "_")
