import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tf

from twinbench.convert.convention import IMAGENET, IMAGENET_MEAN, IMAGENET_STD, InputConvention
from twinbench.convert.inputs import Inputs
from twinbench.convert.opening import open_backbone
from twinbench.data.images import read_rgb
from twinbench.data.paths import file_list
from twinbench.data.resize import resized
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.house import SettingError
from twinbench.protocols.kinds.base import Features, ImageTransform
from twinbench.runtime.precision import PrecisionError, network_precision
from twinbench.runtime.seeds import draw_seed
from twinbench.transfer import transforms
from twinbench.transfer.features import CPU_BATCH, FeatureError, digest, extract, feature_loader, pooled
from twinbench.transfer.transforms import TrainImages, evaluation_transform, train_transform

CROP = ImageTransform(resize=48, crop=40, shape="center-crop")
POOLED = Features(CROP, "gap", "fp32")
SQUASH = ImageTransform(resize=48, crop=40, shape="squash")


@pytest.fixture(scope="module")
def backbone():
    return open_backbone("random", 0.125)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Seven photographs of noise in different shapes."""
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    found = []
    for i in range(7):
        pixels = draw.integers(0, 255, size=(50 + 3 * i, 70 - i, 3), dtype=np.uint8)
        found.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(found[-1])
    return file_list(found)


def inputs(recipe, image, convention=IMAGENET):
    return Inputs(convention, "cpu")(evaluation_transform(recipe)(image)[None])[0]


def test_center_crop_and_squash_by_hand(paths):
    image = read_rgb(paths[0])  # 70 wide, 50 high
    short = tf.resize(image, [48, 67])  # type: ignore[arg-type]
    crop = tf.to_tensor(short.crop((14, 4, 54, 44)))  # left = round((67 - 40) / 2), top = (48 - 40) / 2
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(inputs(CROP, image), (crop - mean) / std)
    squashed = tf.to_tensor(tf.resize(short, [40, 40]))  # type: ignore[arg-type]
    torch.testing.assert_close(inputs(SQUASH, image), (squashed - mean) / std)


def test_bicubic_by_hand(paths):
    image = read_rgb(paths[0])
    short = image.resize((67, 48), Image.Resampling.BICUBIC)
    found = evaluation_transform(replace(CROP, interpolation="bicubic"))(image)
    torch.testing.assert_close(found, torch.from_numpy(np.array(short.crop((14, 4, 54, 44)))).permute(2, 0, 1))
    squashed = short.resize((40, 40), Image.Resampling.BICUBIC)
    found = evaluation_transform(replace(SQUASH, interpolation="bicubic"))(image)
    torch.testing.assert_close(found, torch.from_numpy(np.array(squashed)).permute(2, 0, 1))


def by_opencv(image, height, width):
    return torch.from_numpy(resized(np.asarray(image), height, width).copy()).permute(2, 0, 1)


def test_opencvs_backend_is_mmselfsups_resize_edge_and_resize(paths):
    """mmcls ResizeEdge: int(48 * 70 / 50) = 67; then mmcv Resize to a square, or mmcls CenterCrop's round(13.5)."""
    image = read_rgb(paths[0])  # 70 wide, 50 high
    short = by_opencv(image, 48, 67)
    found = evaluation_transform(replace(CROP, backend="opencv"))(image)
    torch.testing.assert_close(found, short[:, 4:44, 14:54])
    found = evaluation_transform(replace(SQUASH, backend="opencv"))(image)
    torch.testing.assert_close(found, by_opencv(short.permute(1, 2, 0).numpy(), 40, 40))
    at_once = evaluation_transform(replace(SQUASH, resize=0, backend="opencv"))(image)
    torch.testing.assert_close(at_once, by_opencv(image, 40, 40))
    assert not torch.equal(at_once, evaluation_transform(replace(SQUASH, resize=0))(image))


@pytest.mark.parametrize(("size", "long", "first"), [((71, 50), 68, 14), ((70, 50), 67, 13)])
def test_albumentations_backend_rounds_the_long_side_and_its_crop_down(size, long, first):
    """SmallestMaxSize: round(48 * 71 / 50 = 68.16), round(67.2); CenterCrop: (67 - 40) // 2 = 13, not 14."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    recipe = replace(CROP, backend="albumentations")
    found = evaluation_transform(recipe)(Image.fromarray(pixels))
    torch.testing.assert_close(found, by_opencv(pixels, 48, long)[:, 4:44, first : first + 40])
    found = evaluation_transform(recipe)(Image.fromarray(pixels.transpose(1, 0, 2)))
    upright = by_opencv(pixels.transpose(1, 0, 2), long, 48)
    torch.testing.assert_close(found, upright[:, first : first + 40, 4:44])


def test_long_sides_that_the_two_round_otherwise():
    """48 * 77 / 50 = 73.92: 73 for MMSelfSup, 74 for albumentations."""
    pixels = np.random.default_rng(1).integers(0, 256, size=(50, 77, 3), dtype=np.uint8)
    first, second = (
        evaluation_transform(replace(CROP, backend=name))(Image.fromarray(pixels))
        for name in ("opencv", "albumentations")
    )
    torch.testing.assert_close(first, by_opencv(pixels, 48, 73)[:, 4:44, 16:56])
    torch.testing.assert_close(second, by_opencv(pixels, 48, 74)[:, 4:44, 17:57])


def test_opencv_is_here_bilinear_only():
    with pytest.raises(SettingError, match="interpolation=bicubic: expected bilinear where transform.backend=opencv"):
        evaluation_transform(replace(CROP, interpolation="bicubic", backend="opencv"))


def test_virtex_and_mmselfsup_resize_with_opencv():
    backends = {name: protocol.recipe.transform.backend for name, protocol in PROTOCOLS.items() if "voc07-svm" in name}
    opencv = {name: backend for name, backend in backends.items() if backend != "pillow"}
    assert opencv == {
        "voc07-svm-virtex": "albumentations",
        "voc07-svm-mmselfsup": "opencv",
        "voc07-svm-lowshot-mmselfsup": "opencv",
    }


def test_caffes_convention_is_bgr_in_255():
    image = Image.new("RGB", (40, 40), (10, 20, 30))
    convention = InputConvention((3.0, 2.0, 1.0), (1.0, 1.0, 2.0), "bgr", 255.0)
    found = inputs(CROP, image, convention)[:, 0, 0]
    torch.testing.assert_close(found, torch.tensor([30.0 - 3, 20 - 2, (10 - 1) / 2]))


def test_training_crops_depend_on_seed_epoch_and_image_only(paths):
    targets = list(range(7))

    def crop(seed, epoch, index):
        torch.rand(seed + epoch)  # whatever else has drawn from torch's generator
        return TrainImages(paths, targets, train_transform(CROP), seed)[epoch, index][0]

    first = crop(0, 3, 5)
    assert first.shape == (3, 40, 40)
    torch.testing.assert_close(crop(0, 3, 5), first, rtol=0, atol=0)
    for other in (crop(1, 3, 5), crop(0, 4, 5), crop(0, 3, 4)):
        assert not torch.equal(other, first)
    assert len({draw_seed(0, epoch, index) for epoch in range(30) for index in range(30)}) == 900


def test_a_large_set_is_not_touched_file_by_file(paths, monkeypatch):
    monkeypatch.setattr(transforms, "PRELOAD_BYTES", sum(path.stat().st_size for path in paths))
    assert TrainImages(paths, [0] * 7, train_transform(CROP), 0).decoded is not None  # just small enough
    images = TrainImages(file_list([*paths, paths[0], Path("of a network disk")]), [0] * 9, train_transform(CROP), 0)
    assert images.decoded is None  # known after the eighth file; the ninth does not even exist


def test_drawing_a_crop_leaves_torchs_generator_alone(paths):
    images = TrainImages(paths, [0] * 7, train_transform(CROP), 0)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    images[0, 0]
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_extraction_is_one_image_at_a_time_in_eval_mode(backbone, paths):
    found = extract(backbone, paths, POOLED, workers=1)
    model = backbone.build()
    with torch.no_grad():
        alone = np.stack([model(inputs(CROP, read_rgb(path))[None])[0].numpy() for path in paths])
    assert found.shape == (7, 256)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-4 * np.abs(alone).max())


def test_bf16_is_near_and_tf32_needs_a_gpu(backbone, paths):
    exact, lower = (extract(backbone, paths, replace(POOLED, precision=name)) for name in ("fp32", "bf16"))
    assert lower.dtype == np.float32
    assert not np.array_equal(lower, exact)
    scale = np.abs(exact).max()
    np.testing.assert_allclose(lower / scale, exact / scale, atol=0.02)  # bf16 has 8 bits
    with pytest.raises(PrecisionError, match="precision tf32 on cpu: expected a GPU"):
        extract(backbone, paths, replace(POOLED, precision="tf32"))


def test_a_schedulers_signal_to_the_loaders_of_an_evaluation_ends_no_run(paths):
    """They get it, too, as members of the job: torch ended the run, without its state, with "killed by signal"."""
    batches = iter(feature_loader([*paths] * 9, CROP, "cpu", workers=1))
    next(batches)
    for worker in batches._workers:
        os.kill(worker.pid, signal.SIGTERM)
    assert sum(len(images) for images, _ in batches) == len(paths) * 9 - CPU_BATCH


@pytest.fixture(params=[False, True])  # True: with TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1, as in some containers
def products_before(request):
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = request.param
    yield request.param
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize(
    ("precision", "device", "exact_products", "convolutions", "products"),
    [
        ("tf32", "cuda", False, True, True),
        ("tf32", "cuda", True, True, False),
        ("fp32", "cuda", False, False, False),
        ("bf16", "cpu", False, False, False),
    ],
)
def test_tf32_is_of_convolutions_and_products_and_fp32_of_neither(
    precision, device, exact_products, convolutions, products, products_before
):
    def switches():
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    with pytest.raises(KeyboardInterrupt), network_precision(precision, device, exact_products=exact_products):
        assert switches() == (convolutions, products)
        raise KeyboardInterrupt
    assert switches() == (True, products_before)


def test_res5_is_averaged_over_6_by_6_windows_channel_first(backbone):
    model, images = backbone.build(), torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = pooled(model, images, "res5-avg6").flatten(1)[0].numpy()
        res5 = model.maps(images)[-1][0].numpy()  # (C, 7, 7)
    windows = [res5[:, i : i + 6, j : j + 6].mean((1, 2)) for i in (0, 1) for j in (0, 1)]
    np.testing.assert_allclose(rows, np.stack(windows, axis=1).ravel(), rtol=1e-4, atol=1e-4)
    assert len(rows) == 4 * model.features


def test_a_map_too_small_for_its_pooling_and_no_images_are_told(backbone, paths):
    with pytest.raises(FeatureError, match="res5-avg6 on a 2 x 2 map: expected at least 6 x 6"):
        extract(backbone, paths, replace(POOLED, pooling="res5-avg6"))
    with pytest.raises(FeatureError, match="no images"):
        extract(backbone, [], POOLED)


def test_features_that_are_not_finite_are_told(backbone, paths):
    damaged = dict(backbone.state_dict)
    damaged["layer4.2.bn3.bias"] = torch.full_like(damaged["layer4.2.bn3.bias"], torch.nan)
    with pytest.raises(FeatureError, match="not finite"):
        extract(replace(backbone, state_dict=damaged), paths, POOLED)


def test_digest_sees_one_bit_of_one_buffer(backbone):
    model = backbone.build()
    before = digest(model)
    assert digest(backbone.build()) == before
    model.bn1.running_var[3] = torch.nextafter(model.bn1.running_var[3], torch.tensor(9.0))  # type: ignore[index]
    assert digest(model) != before
