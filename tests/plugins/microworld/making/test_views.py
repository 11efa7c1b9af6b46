"""Views of images: crops know where they lie, other colours keep what is grey, and blur takes what is small."""

from __future__ import annotations

import torch

from dynaip_plugins.microworld.making import views


def places() -> torch.Tensor:
    """An image whose first two channels say where a pixel lies, x and y in [-1, 1]. [3,128,128]."""
    row = (torch.arange(128) + 0.5) / 64 - 1
    return torch.stack([row.expand(128, 128), row[:, None].expand(128, 128), torch.zeros(128, 128)])


def test_a_crop_is_a_part_of_its_own_image() -> None:
    """What is cut out is a square, straight, inside, not too small, and lies where the crop says."""
    torch.manual_seed(0)
    cut = views.crop(places().expand(64, -1, -1, -1))
    shown = cut.images
    sides = [shown[:, channel].amax((1, 2)) - shown[:, channel].amin((1, 2)) for channel in (0, 1)]
    torch.testing.assert_close(*sides, atol=0.03, rtol=0)
    assert sides[0].min() >= 2 * views.SMALLEST - 0.05 and sides[0].max() <= 2 and sides[0].std() > 0.1
    torch.testing.assert_close(shown[:, 0, :1].expand(-1, 128, -1), shown[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(shown[:, :2].mean((2, 3)), cut.centre, atol=0.02, rtol=0)


def test_patches_of_a_crop_are_found_in_the_whole() -> None:
    """The patch of the whole that is named holds the place that the crop's patch shows in its middle."""
    torch.manual_seed(1)
    cut = views.crop(places().expand(16, -1, -1, -1))
    chosen = torch.randint(64, (16, 5))
    found = cut.patches(chosen, 8)
    across, down = chosen % 8 * 16 + 8, chosen // 8 * 16 + 8
    for image in range(16):
        shown = torch.stack([cut.images[image, :2, y, x] for y, x in zip(down[image], across[image], strict=True)])
        column, row = ((shown + 1) / 2 * 8).clamp(0, 7.999).unbind(-1)
        middle = torch.stack([found[image] % 8, found[image] // 8], -1) + 0.5
        assert ((torch.stack([column, row], -1) - middle).abs() <= 0.56).all()


def test_other_colours_keep_greys_and_what_is_not_asked() -> None:
    torch.manual_seed(0)
    grey = torch.linspace(-0.7, 0.7, 128).expand(32, 3, 128, 128)
    torch.testing.assert_close(views.tint(grey, 1.0), grey, atol=1e-5, rtol=0)
    images = 0.5 * torch.rand(64, 3, 128, 128) - 0.25
    torch.testing.assert_close(views.tint(images, 0.0), images)
    changed = (views.tint(images, 0.5) - images).abs().amax((1, 2, 3)) > 1e-3
    assert 16 < changed.sum() < 48


def test_blur_takes_stripes_and_leaves_the_large() -> None:
    """Stripes of four pixels vanish, halves stay, and some images stay as they are."""
    torch.manual_seed(0)
    column = torch.arange(128)
    stripes = (column // 4 % 2 * 2.0 - 1).expand(200, 3, 128, 128)
    left = views.blur(stripes)[..., 32:96].std((1, 2, 3))
    gone, same = (left < 1e-5).float().mean(), (left > 0.99).float().mean()
    assert abs(gone - sum(views.BLURS.values())) < 0.08 and abs(same - (1 - sum(views.BLURS.values()))) < 0.08
    halves = (column // 64 * 2.0 - 1).expand(50, 3, 128, 128)
    assert (views.blur(halves) - halves)[..., :40].abs().max() < 1e-5
