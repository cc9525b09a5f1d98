"""Reading a suite file: what it means, and one line for each mistake in it."""

import re

import pytest
import yaml

from twinbench.protocols.catalogue import find_protocol
from twinbench.suite.graph import build_jobs
from twinbench.suite.suite import SuiteError, read_suite

GOOD = """
name: trees
root: out
methods:
  mine: {pretrain: {data: imagenet, recipe: demo, set: {epochs: 3, projector: [64, 64]}, seed: 7}}
  theirs: {checkpoint: theirs.pth}
  random: {checkpoint: random}
  far: {checkpoint: "zoo:moco-v2-800ep"}
  vit: {checkpoint: timm:vit_tiny_patch16_224=theirs.pth}
  convnext: {checkpoint: torchvision:convnext_tiny=pretrained}
protocols:
  demo-voc07-svm: {}
  demo-imagenet-1pct: {seeds: [4, 2], set: {epochs: 5}}
  demo-voc0712-frcnn-c4: {seeds: 2, gpus: 8, minutes: 90, partial: true}
data: {voc: sets/voc, imagenet: sets/in}
cluster: {partition: gpu, gpus_per_node: 4, max_running: 2, setup: ["module load x, y"], environment: {A: 1}}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("sets/voc", "sets/in"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "theirs.pth").write_bytes(b"x")
    return tmp_path


def read(folder, text):
    (folder / "suite.yaml").write_text(text)
    return read_suite(folder / "suite.yaml")


def changed(**entries):
    """Return GOOD with top-level entries replaced; None removes one."""
    content = yaml.safe_load(GOOD) | entries
    return yaml.safe_dump({key: value for key, value in content.items() if value is not None})


def test_a_suite_is_read_whole_and_relative_paths_start_at_its_file(folder, monkeypatch):
    monkeypatch.chdir("/")
    suite = read(folder, GOOD)
    assert (suite.name, suite.root) == ("trees", folder / "out")
    mine, theirs, random, far, vit, convnext = suite.methods
    assert mine.pretrain
    assert mine.pretrain.settings == (("epochs", "3"), ("projector", "64,64"))
    assert (mine.pretrain.data, mine.pretrain.seed) == ("imagenet", 7)
    assert theirs.file == folder / "theirs.pth"
    assert (random.file, far.file, convnext.file) == (None, None, None)
    assert vit.checkpoint == f"timm:vit_tiny_patch16_224={folder}/theirs.pth"
    assert vit.file == theirs.file
    assert [method.name for method in suite.methods if method.model] == ["vit", "convnext"]
    svm, semi, boxes = suite.measurements
    assert svm.seeds == tuple(range(find_protocol("demo-voc07-svm").trials))
    assert semi.seeds == (4, 2)
    assert semi.protocol.overrides == (("epochs", "5"),)
    assert (boxes.seeds, boxes.gpus, boxes.minutes, boxes.partial) == ((0, 1), 8, 90, True)
    places = {name: source.path for name, source in suite.data.items()}
    assert places == {"voc": folder / "sets/voc", "imagenet": folder / "sets/in"}
    assert suite.cluster.setup == ("module load x, y",)
    assert suite.cluster.environment == {"A": "1"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(metods={}), "unknown key 'metods'. Did you mean 'methods'?"),
        (changed(protocols=None), "lacks protocols"),
        (changed(methods={}), "methods: is {}, expected at least one"),
        (
            changed(protocols={"demo-voc07-smv": {}}),
            "unknown protocol 'demo-voc07-smv'. Did you mean 'demo-voc07-svm'?",
        ),
        (changed(data={"imagenet": "sets/in"}), "protocols.demo-voc07-svm: needs voc images"),
        (changed(data={"voc": "sets/nowhere"}), "data.voc: .*nowhere: no such folder; expected"),
        (changed(data={"vox": "sets/voc"}), "unknown data set 'vox'. Did you mean 'voc'?"),
        (changed(methods={"a": {"checkpoint": "gone.pth"}}), "methods.a: there is no file .*gone.pth"),
        (changed(methods={"a": {"checkpoint": "timm:vit=gone.pth"}}), "methods.a: there is no file .*/gone.pth"),
        (
            changed(methods={"a": {"checkpoint": "timm:vit"}}),
            "methods.a: timm:vit: names no weights; expected timm:vit=FILE, timm:vit=pretrained .* or timm:vit=random",
        ),
        (changed(methods={"a": {"checkpoint": "timm:vit="}}), "methods.a: timm:vit=: names no weights"),
        (changed(methods={"a": {"checkpoint": "random", "pretrain": {}}}), "methods.a: expected either"),
        (changed(methods={"a": {"pretrain": {}, "input": "unit"}}), "methods.a: `input` and `layout` belong to"),
        (changed(methods={"a": {"checkpoint": "random", "layout": "--drop"}}), "methods.a.layout: is '--drop'"),
        (changed(methods={"a": {"checkpont": "x"}}), "methods.a: unknown key 'checkpont'"),
        (changed(methods={"a": {}}), "methods.a: expected either `checkpoint` or `pretrain`"),
        (
            changed(methods={"a": {"pretrain": {"recipe": "domo"}}}),
            "methods.a.pretrain: unknown recipe 'domo'. Did you mean 'demo'?",
        ),
        (changed(methods={"a": {"pretrain": {"set": {"epochz": 1}}}}), "methods.a.pretrain: unknown setting 'epochz'"),
        (changed(methods={"a": {"pretrain": {"data": "inat"}}}), "trains on 'inat', but data names no folder"),
        (
            changed(methods={"a": {"checkpoint": "zoo:barlow-twinz"}}),
            "methods.a: zoo:barlow-twinz: .*near: barlow-twins",
        ),
        (changed(methods={"a": {"checkpoint": "*.pth"}}), "there is no file .*; a pattern belongs to `checkpoints`"),
        (changed(site="maybe"), "site: is 'maybe', expected true or false"),
        (changed(methods={"../up": {"checkpoint": "random"}}), "'../up' is no usable name"),
        (
            changed(methods={"features": {"checkpoint": "random"}}),
            "the suite keeps something of its own as features in its root",
        ),
        (changed(methods={"report.txt": {"checkpoint": "random"}}), "methods.report.txt: the suite keeps something"),
        (changed(methods={"a;rm -rf b": {"checkpoint": "random"}}), "is no usable name"),
        (changed(methods={1: {"checkpoint": "random"}}), "1 is no usable name.*quote a number"),
        (changed(name="a/b"), "name: 'a/b' is no usable name"),
        (changed(root=7), "root: is 7, expected a path"),
        (changed(protocols={"demo-voc07-svm": {"seed": 3}}), "unknown key 'seed'. Did you mean 'seeds'?"),
        (changed(protocols={"demo-voc07-svm": {"partial": "yes please"}}), "partial: is 'yes please', expected true"),
        (changed(protocols={"demo-voc07-svm": {"seeds": 0}}), "seeds: is 0, expected a whole number of at least 1"),
        (changed(protocols={"demo-voc07-svm": {"seeds": [1, 1]}}), "expected a number of seeds or a list of different"),
        (changed(protocols={"demo-voc07-svm": {"set": {"fold": 3}}}), "demo-voc07-svm.set: unknown setting 'fold'"),
        (changed(protocols={"demo-voc07-svm": {"set": {"folds": "x"}}}), "setting folds=x: expected int"),
        (
            changed(protocols={"demo-imagenet-knn": {"gpus": 6}}),
            "protocols.demo-imagenet-knn.gpus: is 6, but nodes have gpus_per_node = 4; expected .*: 4 or 8",
        ),
        (
            changed(protocols={"demo-voc07-svm": {"evaluator": "pycocotools"}}),
            "takes no evaluator; leave it out; these do: voc0712-frcnn-c4",
        ),
        (
            changed(protocols={"voc0712-frcnn-c4": {"evaluator": "faster-coco"}}),
            "evaluator: unknown evaluator 'faster-coco'. Did you mean 'faster-coco-eval'?",
        ),
        (
            changed(protocols={"demo-voc07-svm": {"search": "faiss"}}),
            "takes no search; leave it out; these do: voc12-hummingbird",
        ),
        (changed(protocols={"voc12-hummingbird": {"search": "fais"}}), "unknown search 'fais'. Did you mean 'faiss'?"),
        (changed(protocols={"voc0712-frcnn-c4": {"compress": True}}), "takes no compress; leave it out; these do:"),
        (
            changed(protocols={"voc12-hummingbird": {"compress": 1}}),
            "voc12-hummingbird.compress: is 1, expected true or false",
        ),
        (
            changed(protocols={"demo-voc0712-frcnn-c4": {"scale_to": 1}}),
            "frcnn-c4.scale_to: 1: 1/8 of the batch of 4 is no whole number of images",
        ),
        (
            changed(protocols={"imagenet-linear": {"list": "a.txt"}}),
            "takes no list; leave it out; these do: imagenet-1",
        ),
        (
            changed(protocols={"coco-mrcnn-fpn-1pct": {"list": "a.txt"}}, data={"coco": "sets", "imagenet": "sets/in"}),
            "coco-mrcnn-fpn-1pct: takes no list; leave it out; these do: imagenet-1",
        ),
        (
            changed(protocols={"voc07-svm-lowshot-pcl": {"targets": "low"}}),
            "takes no targets; leave it out; these do: voc07-svm-lowshot, voc07-svm-lowshot-mmselfsup, demo-voc07-svm-",
        ),
        (changed(protocols={"imagenet-1pct": {"list": "a.txt"}}), "protocols.imagenet-1pct: .*/a.txt: no such file"),
        (changed(protocols={"imagenet-1pct": {"list": "sets"}}), "protocols.imagenet-1pct: .*/sets: not a file"),
        (
            changed(protocols={"imagenet-1pct": {}, "demo-imagenet-1pct": {}}),
            r"methods.random: a random backbone has the width of its protocol, and these have 0.25 \(demo-imagenet-1pct"
            r"\) and 1 \(imagenet-1pct\); keep to protocols of one width",
        ),
        (changed(protocols={"imagenet-1pct": {"list": None}}), "imagenet-1pct.list: is empty, expected a path"),
        (
            changed(protocols={"voc07-svm-lowshot": {"targets": "a.npz"}}),
            "protocols.voc07-svm-lowshot.targets: .*/a.npz: no such file or folder; expected an .npz, or a folder",
        ),
        (changed(protocols={"voc07-svm-lowshot": {"targets": "sets"}}), "targets: .*/sets: no .npy file in it"),
        (changed(cluster={"partitoin": "gpu"}), "cluster: unknown setting 'partitoin'. Did you mean 'partition'?"),
        (changed(cluster={"partition": "gpu\n#SBATCH --wrap=x"}), "expected one word"),
        (changed(cluster={"nodes": 0}), "cluster: nodes is 0, expected at least 1"),
        (changed(cluster={"setup": "module load x"}), "expected a list of shell lines"),
        (changed(cluster={"environment": {"A B": "1"}}), "expected variables"),
        ("name: [", "suite.yaml, line 1: not valid YAML"),
        ("name: a\nroot: b\nname: c\n", "line 3: not valid YAML: 'name' is given twice"),
        ("- a\n", "expected a mapping"),
    ],
)
def test_a_mistake_takes_one_line_that_names_the_file(folder, text, words):
    with pytest.raises(SuiteError) as caught:
        read(folder, text)
    message = str(caught.value)
    assert re.search(words.replace("{}", r"\{\}"), message), message
    assert str(folder / "suite.yaml") in message
    assert "\n" not in message


def test_lists_and_samples_are_found_and_passed_on(folder):
    (folder / "mine.txt").write_text("n1_1.JPEG\n")
    (folder / "low").mkdir()
    (folder / "low/train_targets_sample1_k1.npy").write_bytes(b"x")
    entries = {"imagenet-1pct": {"list": "mine.txt"}, "imagenet-10pct": {}, "voc07-svm-lowshot": {"targets": "low"}}
    suite = read(folder, changed(protocols=entries, methods={"random": {"checkpoint": "random"}}))
    found = {measurement.protocol.name: measurement.inputs for measurement in suite.measurements}
    listed, plain, shots = (found[name] for name in entries)
    assert (listed.list, listed.flags) == (folder / "mine.txt", ("--list", str(folder / "mine.txt")))
    assert (plain.list, plain.targets, plain.named) == (None, None, {})
    assert (shots.targets, shots.named) == (folder / "low", {"targets": str(folder / "low")})


def test_a_missing_suite_file_is_named(tmp_path):
    with pytest.raises(SuiteError, match="nothing.yaml: No such file"):
        read_suite(tmp_path / "nothing.yaml")


def test_the_users_file_gives_defaults_that_a_suite_overrides(folder, monkeypatch):
    site = folder / "site.yaml"
    site.write_text("{partition: a100, account: vision, setup: [module load cuda]}")
    monkeypatch.setenv("TWINBENCH_CLUSTER", str(site))
    cluster = read(folder, changed(cluster={"partition": "h100"})).cluster
    assert (cluster.partition, cluster.account, cluster.setup) == ("h100", "vision", ("module load cuda",))
    site.write_text("{partitions: a100}")
    with pytest.raises(SuiteError, match="site.yaml: cluster: unknown setting 'partitions'"):
        read(folder, GOOD)
    site.unlink()
    with pytest.raises(SuiteError, match="TWINBENCH_CLUSTER=.*: there is no such file"):
        read(folder, GOOD)


def test_a_suite_brings_protocols_and_data_of_its_own(tmp_path):
    """A pair, and a protocol from a file, on a folder that no published data set has."""
    (tmp_path / "pets").mkdir()
    (tmp_path / "own.yaml").write_text(
        "data_sets: {suite-pets: {tasks: single-label}}\n"
        "protocols: {suite-pets-knn: {recipe: imagenet-knn, data: suite-pets, source: ours}}\n"
    )
    file = tmp_path / "suite.yaml"
    file.write_text(
        "name: own\nroot: results\nmethods: {random: {checkpoint: random}}\nprotocol_files: [own.yaml]\n"
        "protocols: {suite-pets-knn: {}, imagenet-knn@pets: {}}\ndata: {suite-pets: pets, pets: pets}\n"
    )
    suite = read_suite(file)
    assert [entry.protocol.name for entry in suite.measurements] == ["suite-pets-knn", "imagenet-knn@pets"]
    words = {job.name: job.argv for job in build_jobs(suite)}
    assert words["random/imagenet-knn@pets/seed0"][1:4] == ("imagenet-knn@pets", "random", str(tmp_path / "pets"))
    assert ("--protocols", str(tmp_path / "own.yaml")) == words["random/suite-pets-knn/seed0"][-4:-2]


def test_own_data_without_a_folder_is_told(tmp_path):
    file = tmp_path / "suite.yaml"
    file.write_text(
        "name: own\nroot: results\nmethods: {random: {checkpoint: random}}\nprotocols: {imagenet-knn@pets: {}}\n"
    )
    with pytest.raises(SuiteError, match=r"needs pets images; add their folder as data: \{pets: \.\.\.\}"):
        read_suite(file)
