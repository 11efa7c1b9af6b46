"""Pictures and masks as people give them: files, PIL images, arrays and tensors are read by one rule, or refused in a line."""

from __future__ import annotations

from dynaip.images.files import FORMATS as FORMATS
from dynaip.images.files import MAX_PIXELS as MAX_PIXELS
from dynaip.images.masks import read_mask as read_mask
from dynaip.images.pictures import load_image as load_image
from dynaip.images.pictures import plain_rgb as plain_rgb
from dynaip.images.pictures import read_picture as read_picture
from dynaip.images.pictures import to_rgb as to_rgb
