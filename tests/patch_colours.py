"""Small masks of tinted patches, a network whose patches are mean colours, and trials of nearest patches on them."""

from dataclasses import replace

import numpy as np
from PIL import Image
from torch import nn
from torch.nn import functional

from twinbench.protocols.catalogue import find_protocol
from twinbench.report.asked import Asked

SIDE, GRAIN, CLASSES = 32, 8, 3
COLOURS = np.array([(230, 40, 30), (30, 200, 60), (40, 60, 240)], np.uint8)
WHOLE = {"side": SIDE, "scale": "", "jitter": 0, "augmentation_epochs": 1, "memory_size": 0, "neighbors": 4}
GRID = {"side": SIDE, "neighbors": "1,3", "held_out": 0.25}
LOGREG = {"side": SIDE, "held_out": 0.25}
SMALL = {"ade20k-knn-capi": GRID, "ade20k-logreg-capi": LOGREG}


class Colours(nn.Module):
    """In place of a backbone: a patch of 8 pixels a side is its mean colour."""

    grain = GRAIN

    def __init__(self, trunk, blocks):
        super().__init__()

    def forward(self, images):
        height, width = (-(-side // GRAIN) * GRAIN for side in images.shape[2:])
        padding = (0, width - images.shape[3], 0, height - images.shape[2])
        return functional.avg_pool2d(functional.pad(images, padding), GRAIN)


def write_masks(root, train, test):
    """Write pairs of an image and its mask as own data with three classes."""
    for split, pairs in (("train", train), ("val", test)):
        for number, (image, mask) in enumerate(pairs):
            for folder, pixels in (("images", image), ("masks", mask)):
                path = root / folder / split / f"{number:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    (root / "classes.txt").write_text("red\ngreen\nblue\n")
    return root


def striped(*classes):
    """Return an image of vertical stripes, one a patch wide each, and its mask."""
    mask = np.repeat(np.resize(classes, SIDE // GRAIN), GRAIN)[None].repeat(SIDE, 0)
    return COLOURS[mask], mask


def noisy(draw):
    """Return an image of noise with a class for each patch's tint, some pixels of which are another or none."""
    mask = draw.integers(0, CLASSES, (SIDE // GRAIN, SIDE // GRAIN)).repeat(GRAIN, 0).repeat(GRAIN, 1)
    pixels = COLOURS[mask] / 2.0 + draw.normal(60, 50, (SIDE, SIDE, 3)).clip(0, 127)
    mask = np.where(draw.random(mask.shape) < 0.2, draw.integers(0, CLASSES, mask.shape), mask)
    mask = np.where(draw.random(mask.shape) < 0.1, 255, mask)
    return pixels, mask


def write_noise(root):
    """Write twelve training and six test images of noise."""
    draw = np.random.default_rng(5)
    pairs = [noisy(draw) for _ in range(18)]
    return write_masks(root, pairs[:12], pairs[12:])


def asked(data, out, name="voc12-hummingbird", backbone="random", seed=0, **settings):
    """Ask for a trial on own data, its settings small."""
    given = {**SMALL.get(name, WHOLE), **settings}
    protocol = replace(find_protocol(f"{name}@own"), width=0.125).with_settings(
        {key: str(value) for key, value in given.items()}
    )
    return Asked(protocol, backbone, data, out, "ours", seed=seed, device="cpu", workers=0)


def killed_at(monkeypatch, owner, name, call):
    """Have a call of this number end as a kill would; return the count of calls."""
    original, calls = getattr(owner, name), [0]

    def counting(*given, **named):
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        return original(*given, **named)

    monkeypatch.setattr(owner, name, counting)
    return calls
