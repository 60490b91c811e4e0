"""The U-Net of Ronneberger et al. (2015, arXiv 1505.04597) with zero-padded convolutions, as MATLAB's `unetLayers`."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import KerasTensor, layers

from segapp.nets.blocks import decoder_stage, double_convolution, with_input_and_head
from segapp.nets.config import UNetConfig
from segapp.nets.encoders.features import encoder_maps
from segapp.nets.encoders.registry import PLAIN


def unet(
    bands: int,
    classes: int,
    config: UNetConfig | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    logarithm: bool = False,
    size: tuple[int | None, int | None] = (None, None),
    head: str = "final_conv",
    context: int = 0,
) -> keras.Model:
    """Build a U-Net: (N, H, W, bands) float32 in physical units to (N, H, W, classes) float32 probabilities.

    `mean` and `std` (one number a band, in the bands' units) standardise the input, or with `logarithm` its logarithm,
    inside the network; pixels that are not finite become 0. H and W must divide by 2**depth; `size` fixes them, None
    leaves them open. `context` gives the head a context branch of so many units.

    Layers are named `encoder_stage_1_conv_1`, ..., `bridge_conv_1`, ..., `decoder_stage_1_upconv` (the deepest), ...,
    `final_conv` (or `head`), `softmax`; those of another encoder than the plain one as `encoder_maps` says. Draws its
    initial weights from Keras' global seed.
    """
    config = config or UNetConfig()
    return with_input_and_head(
        lambda x: unet_features(x, config),
        bands,
        classes,
        mean=mean,
        std=std,
        logarithm=logarithm,
        size=size,
        head=head,
        context=context,
        name="unet",
    )


def unet_features(x: KerasTensor, config: UNetConfig) -> KerasTensor:
    """The U-Net without input layer and head: (N, H, W, C) to the last feature map, (N, H, W, filters)."""
    *skips, x = _plain_maps(x, config) if config.encoder == PLAIN else encoder_maps(x, config)
    for stage, skip in enumerate(reversed(skips), start=1):
        x = decoder_stage(x, skip, config.filters * 2 ** (config.depth - stage), stage, config.batch_norm)
    return x


def _plain_maps(x: KerasTensor, config: UNetConfig) -> list[KerasTensor]:
    """The U-Net's own encoder: the skips, the finest first, and the bridge."""
    maps = []
    for stage in range(1, config.depth + 1):
        name = f"encoder_stage_{stage}"
        x = double_convolution(x, config.filters * 2 ** (stage - 1), name, config.batch_norm)
        if stage == config.depth:
            x = layers.Dropout(config.dropout, name=f"{name}_dropout")(x)
        maps.append(x)
        x = layers.MaxPooling2D(2, name=f"{name}_maxpool")(x)
    x = double_convolution(x, config.filters * 2**config.depth, "bridge", config.batch_norm)
    return [*maps, layers.Dropout(config.dropout, name="bridge_dropout")(x)]
