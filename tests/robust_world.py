"""A made-up ImageNet of twelve classes with its siblings: ImageNetV2's numbers, A's five classes, ReaL, C."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

WNIDS = [f"n{number:08d}" for number in range(1440764, 1440776)]
SIDE = 32
MODEL = "vit_tiny_patch16_224"
SHOWN = {"transform.resize": SIDE, "transform.crop": SIDE}
TRAINED = SHOWN | {"epochs": 20, "batch_size": 24, "lr_head": 0.3}


@dataclass(frozen=True)
class World:
    """Where its parts lie."""

    root: Path

    @property
    def backbone(self) -> str:
        """A twelve-layer ViT-tiny with a classifier of twelve classes, as a file of timm's."""
        return f"timm:{MODEL}={self.root / 'vit.pth'}"

    def images(self, folder: str) -> list[tuple[Path, int]]:
        """Every image below a folder with its class, in the order of the paths."""
        found: list[tuple[Path, int]] = []
        for path in sorted((self.root / folder).rglob("*.JPEG")):
            name = path.parent.name
            found.append((path, int(name) if name.isdecimal() else WNIDS.index(name)))
        return found


def make_world(root: Path) -> World:
    """Write the images, the labels and the backbone."""
    draw = np.random.default_rng(0)
    for name in WNIDS:
        for place in range(4):
            _picture(draw, WNIDS.index(name), root / "imagenet" / "train" / name / f"{name}_{place}.JPEG")
    for number, label in enumerate([*range(12), *reversed(range(12))], 1):  # numbers do not follow the classes
        _picture(draw, label, root / "imagenet" / "val" / WNIDS[label] / f"ILSVRC2012_val_{number:08d}.JPEG", 90)
    for label in range(12):
        for place in range(2):
            _picture(draw, label, root / "v2" / str(label) / f"{place}.JPEG", 120)
    for sibling, labels in (("a", (1, 4, 5, 9, 11)), ("r", (0, 2, 3, 6, 10))):
        for label in labels:
            for place in range(3):
                _picture(draw, label, root / sibling / f"imagenet-{sibling}" / WNIDS[label] / f"{place}.JPEG", 150)
    for corruption in ("fog", "snow"):
        for severity in range(1, 6):
            for label in range(12):
                place = root / "c" / corruption / str(severity) / WNIDS[label] / "0.JPEG"
                _picture(draw, label, place, 60 * severity)
    labels = [draw.choice(12, size=count, replace=False).tolist() for count in draw.integers(0, 4, 24)]
    (root / "imagenet" / "real.json").write_text(json.dumps(labels))
    _write_backbone(root / "vit.pth")
    return World(root)


def _picture(draw: np.random.Generator, label: int, path: Path, noise: int = 60) -> None:
    """Write an image whose colours and stripes are its class's, under noise."""
    colour = np.array([40 + 70 * (label % 3), 40 + 50 * (label // 3), 60])
    rows = (np.arange(SIDE) // (2 + label % 4)) % 2
    pixels = colour + 40 * rows[:, None, None] + draw.normal(0, noise, (SIDE, SIDE, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=95)


def _write_backbone(path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(MODEL, num_classes=len(WNIDS))
        for values in model.parameters():
            if values.ndim == 1:
                values.data.add_(0.05 * torch.randn_like(values))
        nn.init.normal_(model.get_classifier().weight, std=0.2)
    torch.save(model.state_dict(), path)


def timms_model(world: World, size: int = SIDE) -> nn.Module:
    """timm's own network with the file's weights, classifier included."""
    model = timm.create_model(MODEL, num_classes=len(WNIDS), dynamic_img_size=True)
    model.load_state_dict(torch.load(world.root / "vit.pth", weights_only=True))
    return model.eval()


def shown(paths: list[Path]) -> Tensor:
    """The images as torchvision shows them to a network (N, 3, H, W)."""
    steps = transforms.Compose(
        [
            transforms.Resize(SIDE),
            transforms.CenterCrop(SIDE),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    return torch.stack([steps(Image.open(path).convert("RGB")) for path in paths])
