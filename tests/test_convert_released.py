"""Released classifiers: with its trunk each gives the scores that its library gives, or it is told why not."""

import pytest
import timm
import torch
import torchvision
from torch.nn import functional

from twinbench.convert.convention import IMAGENET
from twinbench.convert.named import ModelError
from twinbench.convert.opening import open_backbone
from twinbench.convert.released import released_classifier


def made(library, name, **options):
    """A library's model whose tensors look trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(name, **options) if library == "timm" else torchvision.models.get_model(name)
        for key, values in model.state_dict().items():
            if values.ndim == 1:
                values.add_(torch.rand(values.shape) * (0.5 if "var" in key else 0.05))
    return model.eval()


MODELS = [
    ("timm", "vit_tiny_patch16_224"),
    ("timm", "resnet18"),
    ("timm", "convnext_atto"),
    ("timm", "mobilenetv3_small_050"),
    ("torchvision", "resnet50"),
    ("torchvision", "convnext_tiny"),
    ("torchvision", "regnet_y_400mf"),
]


@pytest.mark.parametrize(("library", "name"), MODELS)
def test_trunk_and_classifier_are_the_library_s_model(library, name, tmp_path):
    model = made(library, name)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    spec = f"{library}:{name}={tmp_path / 'model.pth'}"
    trunk, found = open_backbone(spec, convention=IMAGENET).build(), released_classifier(spec)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = functional.linear(trunk(images), found.weight, found.bias)
        torch.testing.assert_close(scores, model(images), rtol=1e-4, atol=1e-5)


OF_TRANSFORMERS = {  # the smallest of each whose network timm or torchvision has
    "ViT": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "layer_norm_eps": 1e-6},
    "ResNet": {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]},
    "ConvNext": {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]},
    "Swin": {},
    "RegNet": {"hidden_sizes": [48, 104, 208, 440], "depths": [1, 3, 6, 6], "groups_width": 8, "layer_type": "y"},
}


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_trunk_and_classifier_are_transformers_model(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{name}Config")(num_labels=7, **OF_TRANSFORMERS[name])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForImageClassification")(config).eval()
        for key, values in model.state_dict().items():
            if values.ndim == 1 and values.is_floating_point():
                values.add_(torch.rand(values.shape) * (0.5 if "var" in key else 0.05))
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    trunk, found = open_backbone(file, convention=IMAGENET).build(), released_classifier(str(file))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = functional.linear(trunk(images), found.weight, found.bias)
        torch.testing.assert_close(scores, model(images).logits, rtol=1e-4, atol=1e-5)


@pytest.fixture
def resnet18(tmp_path):
    """A file of torchvision's ResNet-18, and its tensors."""
    state = made("torchvision", "resnet18").state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    return tmp_path / "resnet18.pth", state


def test_a_file_that_names_its_network_itself_needs_no_library_s_name(resnet18):
    file, state = resnet18
    assert torch.equal(released_classifier(str(file)).weight, state["fc.weight"])


def test_a_prefix_of_the_trunk_is_the_classifier_s_too(resnet18, tmp_path):
    _, state = resnet18
    torch.save({"state_dict": {f"module.{name}": values for name, values in state.items()}}, tmp_path / "ddp.pth")
    found = released_classifier(f"torchvision:resnet18={tmp_path / 'ddp.pth'}")
    assert torch.equal(found.bias, state["fc.bias"])


def test_other_tensors_are_another_identity(resnet18, tmp_path):
    file, state = resnet18
    before = released_classifier(str(file)).sha256
    torch.save(state | {"fc.bias": state["fc.bias"] + 1}, file)
    assert released_classifier(str(file)).sha256 != before


def test_a_file_without_a_classifier_is_told(resnet18, tmp_path):
    file, state = resnet18
    torch.save({name: values for name, values in state.items() if not name.startswith("fc.")}, file)
    with pytest.raises(ModelError, match=r"holds no fc\.weight; expected the classifier of .*; train a head"):
        released_classifier(f"torchvision:resnet18={file}")


@pytest.mark.parametrize("spec", ["random", "timm:resnet18=random"])
def test_random_weights_have_no_classifier(spec):
    with pytest.raises(ModelError, match="random weights have no classifier; expected a file with one"):
        released_classifier(spec)


def test_a_classifier_of_two_layers_is_told():
    with pytest.raises(
        ModelError, match="head.bias, head.weight, head_dist.bias, .*; expected one linear layer with a bias"
    ):
        released_classifier("timm:deit_tiny_distilled_patch16_224=pretrained")


def test_a_damaged_classifier_is_told(resnet18):
    file, state = resnet18
    torch.save(state | {"fc.bias": state["fc.bias"] * torch.nan}, file)
    with pytest.raises(ModelError, match=r"a classifier of shapes \(1000, 512\) and \(1000,\); expected finite"):
        released_classifier(f"torchvision:resnet18={file}")
