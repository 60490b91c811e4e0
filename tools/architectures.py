"""Networks as other frameworks write them, and whether `segapp convert` brings them over: the table of docs/convert.md.

`export` needs torch and segmentation-models-pytorch, `keras2` needs tf_keras; run them in an environment of their own.
All weights are random; batch normalisations have the statistics of noise.

    python tools/architectures.py export build/architectures [NAME ...]
    python tools/architectures.py keras2 build/architectures [NAME ...]
    python tools/architectures.py convert build/architectures
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

BANDS = ["blue", "green", "red", "nir", "swir1", "swir2"]
CLASSES, SIDE = 4, 128
TORCH = {
    "unet-resnet18": ("Unet", "resnet18", {}),
    "unet-scse": ("Unet", "resnet18", {"decoder_attention_type": "scse"}),
    "unet-resnext50": ("Unet", "resnext50_32x4d", {}),
    "unet-se-resnet50": ("Unet", "se_resnet50", {}),
    "unet-densenet121": ("Unet", "densenet121", {}),
    "unet-mobilenet-v2": ("Unet", "mobilenet_v2", {}),
    "unet-mobilenet-v3": ("Unet", "tu-mobilenetv3_small_100", {}),
    "unet-efficientnet-b0": ("Unet", "efficientnet-b0", {}),
    "unet-convnext": ("Unet", "tu-convnext_atto", {"encoder_depth": 4, "decoder_channels": (64, 32, 16, 8)}),
    "unet-mit-b0": ("Unet", "mit_b0", {}),
    "unet++-resnet18": ("UnetPlusPlus", "resnet18", {}),
    "manet-resnet18": ("MAnet", "resnet18", {}),
    "linknet-resnet18": ("Linknet", "resnet18", {}),
    "fpn-resnet18": ("FPN", "resnet18", {}),
    "pspnet-resnet18": ("PSPNet", "resnet18", {}),
    "pan-resnet18": ("PAN", "resnet18", {}),
    "deeplabv3-resnet18": ("DeepLabV3", "resnet18", {}),
    "deeplabv3plus-resnet18": ("DeepLabV3Plus", "resnet18", {}),
    "upernet-resnet18": ("UPerNet", "resnet18", {}),
    "segformer-mit-b0": ("Segformer", "mit_b0", {}),
}
KERAS = {
    "keras2-mobilenetv2": ("MobileNetV2", ["block_13_expand_relu", "block_6_expand_relu", "block_3_expand_relu"]),
    "keras2-resnet50v2": ("ResNet50V2", ["conv4_block5_out", "conv3_block3_out", "conv2_block2_out"]),
    "keras2-vgg16": ("VGG16", ["block5_conv3", "block4_conv3", "block3_conv3"]),
    "keras2-densenet121": ("DenseNet121", ["pool4_relu", "pool3_relu", "pool2_relu"]),
    "keras2-efficientnetb0": ("EfficientNetB0", ["block6a_expand_activation", "block4a_expand_activation"]),
    "keras2-mobilenetv3": ("MobileNetV3Small", []),
}


def export(folder: Path, name: str) -> None:
    """Write a network of segmentation_models.pytorch by both of PyTorch's exporters, with fixed and open sides."""
    import segmentation_models_pytorch as smp
    import torch

    torch.manual_seed(0)
    kind, encoder, more = TORCH[name]
    model = getattr(smp, kind)(encoder, encoder_weights=None, in_channels=len(BANDS), classes=CLASSES, **more)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics are the mean over all batches
    with torch.no_grad():
        for _ in range(2):
            model.train()(torch.randn(2, len(BANDS), SIDE, SIDE))
    model.eval()
    image = torch.randn(1, len(BANDS), SIDE, SIDE)
    sides = {axis: 32 * torch.export.Dim(f"side{axis}", min=2, max=64) for axis in (2, 3)}
    ways: dict[str, dict[str, Any]] = {
        "torchscript": {"dynamo": False, "opset_version": 17},
        "torchscript-open": {
            "dynamo": False,
            "opset_version": 17,
            "dynamic_axes": {"image": {2: "height", 3: "width"}},
        },
        "dynamo": {"dynamo": True, "external_data": False, "verbose": False},
        "dynamo-open": {"dynamo": True, "external_data": False, "verbose": False, "dynamic_shapes": {"x": sides}},
    }
    for way, settings in ways.items():
        try:
            torch.onnx.export(model, (image,), str(folder / f"{name}.{way}.onnx"), input_names=["image"], **settings)
        except Exception as error:  # the exporters' errors have no base class
            print(f"{name} | {way} | PyTorch does not export it ({type(error).__name__})", flush=True)


def keras2(folder: Path, name: str) -> None:
    """Write a U-Net with an encoder of tf_keras as .h5 and as .keras."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import numpy as np
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    kind, taps = KERAS[name]
    layers = tf_keras.layers
    settings = {"include_preprocessing": False} if "V3" in kind else {}
    body = getattr(tf_keras.applications, kind)(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, len(BANDS)), **settings
    )
    x = body.output
    while x.shape[1] < SIDE:
        x = layers.UpSampling2D(interpolation="bilinear")(x)
        skips = [body.get_layer(tap).output for tap in taps]
        skips = [skip for skip in skips if skip.shape[1] == x.shape[1]]
        x = layers.Concatenate()([x, *skips]) if skips else x
        x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    model = tf_keras.Model(body.input, layers.Conv2D(CLASSES, 1, activation="softmax")(x))
    model(np.random.default_rng(0).normal(size=(4, SIDE, SIDE, len(BANDS))).astype("float32"), training=True)
    for suffix in (".h5", ".keras"):
        model.save(folder / f"{name}{suffix}")


def convert(folder: Path) -> None:
    """Bring every file over, and print what became of it."""
    from segapp.classes import ClassTable
    from segapp.conversion.convert import convert as run
    from segapp.errors import InputError

    table = ClassTable.model_validate({"classes": [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)]})
    for path in sorted(folder.iterdir()):
        with tempfile.TemporaryDirectory() as place:
            try:
                model = run(path, Path(place) / "model", bands=BANDS, classes=table)
                check = model.spec.provenance["check"]
                print(f"{path.name} | converts, {model.count_params():,} weights | {check}", flush=True)
            except InputError as error:
                print(f"{path.name} | {str(error).removeprefix(f'{path}: ')}", flush=True)


def main() -> None:
    """Do what the command line says."""
    what, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    if what == "convert":
        convert(folder)
        return
    make: Callable[[Path, str], None] = {"export": export, "keras2": keras2}[what]
    for name in names or {"export": TORCH, "keras2": KERAS}[what]:
        make(folder, name)


if __name__ == "__main__":
    main()
