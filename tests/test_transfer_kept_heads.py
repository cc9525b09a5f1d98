"""The head that was chosen of many goes on to other test sets: the same scores as in its own trial, kills included."""

import pytest
import torch

import twinbench
from tests.probe_kills import interrupt_after
from tests.robust_world import SHOWN, WNIDS, make_world
from twinbench.convert import files
from twinbench.convert.inputs import Inputs
from twinbench.convert.opening import open_backbone
from twinbench.protocols.catalogue import PROTOCOLS
from twinbench.protocols.kinds.tested import head_label
from twinbench.transfer import heads, robust
from twinbench.transfer.kept_heads import FILE, HeadError, read_head

SMALL = SHOWN | {"epochs": 2, "batch_size": 16}
STEPS = {"epoch_steps": 3, "held_out": 0.25}
EACH = {
    "imagenet-linear-dinov2": SMALL | {"rates": "0.01,1.0", "epoch_steps": 3},
    "imagenet-linear-dinov3-heldout": SMALL | STEPS | {"rates": "0.01,1.0"},
    "imagenet-linear-capi": SMALL | STEPS | {"rates": "0.0001,0.01", "decays": "0.0005", "warmup_epochs": 0.0},
    "imagenet-ep": SMALL | {"heads_on": "ep-8", "warmup_epochs": 0.0, "rates": "0.1,1.0"},  # bf16, the best epoch
    "imagenet-attentive-aim": SMALL | {"heads_on": "aim-3", "warmup_epochs": 0.0},  # norms with running statistics
}
AS_SHOWN = SHOWN | {"transform.interpolation": "bicubic"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def evaluated(world, protocol, out, settings, **more):
    given = {"settings": settings, "device": "cpu", "workers": 0} | more
    return twinbench.evaluate(world.backbone, protocol, world.root / "imagenet", out, **given)


@pytest.fixture(scope="module")
def trial(world, tmp_path_factory):
    """Run each once, when first asked for; return its folder, its result and the run with all of its heads."""
    done = {}

    def run(name):
        if name not in done:
            runs, original = [], heads.ManyProbes

            class Kept(original):
                def run(self):
                    runs.append(self)
                    return super().run()

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(heads, "ManyProbes", Kept)
                out = tmp_path_factory.mktemp("trial")
                done[name] = out, evaluated(world, f"{name}@made-up", out, EACH[name]), runs[0]
        return done[name]

    return run


def on_its_own_images(world, place, result, out, **more):
    settings = AS_SHOWN | {"head": head_label(result.protocol, result.fingerprint)}
    return evaluated(world, "calibration-linear@made-up", out, settings, head=place, **more)


@pytest.mark.parametrize("name", EACH)
def test_the_chosen_head_gives_on_its_own_test_images_what_its_trial_reported(world, trial, tmp_path, name):
    place, result, _ = trial(name)
    found = on_its_own_images(world, place, result, tmp_path)
    assert {key: found.metrics[key] for key in ("top1", "top5")} == {
        key: pytest.approx(result.metrics[key], abs=1e-9) for key in ("top1", "top5")
    }


@pytest.mark.parametrize("name", EACH)
def test_it_is_the_one_that_the_result_names(trial, name):
    place, result, _ = trial(name)
    chosen = result.details["chosen"]
    assert torch.load(place / FILE, weights_only=True)["head"] == {
        key: chosen[key] for key in ("feature", "rate", "decay")
    }


@pytest.mark.parametrize("name", ["imagenet-linear-capi", "imagenet-linear-dinov2"])
def test_its_scores_are_those_that_it_gives_among_all_heads(world, trial, name):
    """Of what is chosen after the last epoch, the run still holds all heads."""
    place, result, run = trial(name)
    chosen = result.details["chosen"]
    heads_by_name = [(head.feature, head.rate, head.decay) for head in run.many.heads]
    at = heads_by_name.index((chosen["feature"], chosen["rate"], chosen["decay"]))
    backbone = open_backbone(world.backbone)
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Inputs(backbone.convention, "cpu")(pixels)
    with torch.no_grad():
        scores = read_head(place).build(backbone)(images)
        expected = run.model.eval()(images)[:, at]
    assert scores.shape == (5, len(WNIDS))
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)


def test_a_bf16_backbone_s_head_is_float32_in_a_test_as_in_its_trial(world, trial, tmp_path, monkeypatch):
    """The whole network was once under autocast, so that scores had eight bits."""
    place, result, run = trial("imagenet-ep")
    assert run.many.precision == "bf16"
    seen = []
    judged = robust.judged
    monkeypatch.setattr(robust, "judged", lambda scores, answers: seen.append(scores) or judged(scores, answers))
    on_its_own_images(world, place, result, tmp_path)
    scores = torch.cat(seen)
    assert not torch.equal(scores, scores.bfloat16().float())


@pytest.fixture
def best_is_first(monkeypatch):
    """Have every test say that heads get worse, and the first of them be the best; return what it was then."""
    states = {}

    def worse(self, images):
        epoch = len(self.history) + 1
        state = self.model.head.heads[0].state_dict()
        states[epoch] = {name: values.clone() for name, values in state.items()}
        values = [90.0 - 10 * epoch - head for head in range(len(self.many.heads))]
        return {"top1": values, "top5": values}

    monkeypatch.setattr(heads.ManyProbes, "_accuracies", worse)
    return states


@pytest.mark.parametrize("saves", [None, 7])  # uninterrupted, or killed in the second epoch of three steps
def test_of_the_best_epoch_the_head_is_kept_as_it_was_then(world, tmp_path, best_is_first, monkeypatch, saves):
    if saves:
        with monkeypatch.context() as patched:
            interrupt_after(patched, saves)
            with pytest.raises(KeyboardInterrupt):
                evaluated(world, "imagenet-ep@made-up", tmp_path, EACH["imagenet-ep"])
    evaluated(world, "imagenet-ep@made-up", tmp_path, EACH["imagenet-ep"])
    kept = files.load(tmp_path / FILE)["state"]
    assert kept.keys() == best_is_first[1].keys()
    for name, values in kept.items():
        assert torch.equal(values, best_is_first[1][name])
    assert any(not torch.equal(values, best_is_first[2][name]) for name, values in kept.items())


def test_other_images_than_the_head_s_own_are_told(world, trial, tmp_path, caplog):
    place, result, _ = trial("imagenet-linear-dinov2")
    head = {"head": head_label(result.protocol, result.fingerprint)}
    evaluated(world, "robust-linear@made-up", tmp_path, SHOWN | head, head=place)
    assert "were resized bicubic, those of robust-linear@made-up bilinear; as they were: --set" in caplog.text


def test_a_head_of_another_grid_is_refused(world, trial, tmp_path):
    place, _, _ = trial("imagenet-linear-dinov2")
    label = head_label("imagenet-linear-dinov3", PROTOCOLS["imagenet-linear-dinov3"].fingerprint)
    with pytest.raises(
        HeadError, match="the head of imagenet-linear-dinov2@made-up:.*, but robust-linear@made-up tests"
    ):
        evaluated(world, "robust-linear@made-up", tmp_path, SHOWN | {"head": label}, head=place)


def test_a_file_that_does_not_say_which_head_it_is_of_is_told(trial, tmp_path):
    place, _, _ = trial("imagenet-linear-dinov2")
    held = files.load(place / FILE)
    files.save({name: part for name, part in held.items() if name != "head"}, tmp_path / FILE)
    (tmp_path / "result.json").write_text((place / "result.json").read_text())
    with pytest.raises(HeadError, match=r"no head of twinbench \(KeyError\('head'\)\); run the trial again"):
        read_head(tmp_path)


def test_a_head_that_does_not_fit_is_told(world, trial, tmp_path):
    """A file of another feature than its tensors are for."""
    place, result, _ = trial("imagenet-linear-dinov3-heldout")
    held = files.load(place / FILE)
    files.save(held | {"head": held["head"] | {"feature": "class"}}, tmp_path / FILE)
    (tmp_path / "result.json").write_text((place / "result.json").read_text())
    with pytest.raises(HeadError, match="does not fit timm:vit_tiny_patch16_224 .*; run the trial again"):
        on_its_own_images(world, tmp_path, result, tmp_path / "out")
