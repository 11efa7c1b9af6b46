"""What an encoder sees of a picture: its patches lie on that, and not on the whole picture where it is not square."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dynaip.contracts import VisualEncoder


@torch.no_grad()
def seen_by(encoder: VisualEncoder, picture: Image.Image, *, beside: float = 1.0) -> Image.Image:
    """A picture cut, padded and resized as the encoder's ``preprocess`` does it, in the picture's own colours (ours).

    Normalisation is taken back by what a black and a white picture of the same size become. Where those two are alike the
    encoder saw nothing of the picture: padding, which becomes ``beside`` (0 black to 1 white).
    """
    picture = picture.convert("RGB")
    plain = [Image.new("RGB", picture.size, colour) for colour in ("black", "white")]
    seen, black, white = encoder.preprocess([picture, *plain]).float().cpu().numpy()
    inside = np.abs(white - black) > 1e-6
    values = np.where(inside, (seen - black) / np.where(inside, white - black, 1), beside)
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0))


def mask_seen_by(encoder: VisualEncoder, mask: Any) -> NDArray[np.float64]:
    """A mask of a picture (height x width, 0 to 1 or bool) where the encoder sees it; padding is outside."""
    grey = Image.fromarray((np.asarray(mask, dtype=np.float64).clip(0, 1) * 255).round().astype(np.uint8))
    return np.asarray(seen_by(encoder, grey, beside=0.0), dtype=np.float64)[..., 0] / 255


def as_seen(encoder: VisualEncoder, image: Image.Image) -> Image.Image:
    """A picture that is not square as the encoder sees it, so that maps lie where they belong; a square one as it is."""
    return image if image.width == image.height else seen_by(encoder, image)
