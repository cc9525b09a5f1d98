"""Suite files made to hurt: through the command line each ends in one line, soon and in little memory."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import twinbench
from twinbench.suite.graph import build_jobs
from twinbench.suite.measurements import MAX_TRIALS
from twinbench.suite.resolved import write_resolved
from twinbench.suite.suite import read_suite

ROOT = Path(__file__).parent.parent
SECONDS = 4  # of computing; 2 on a free core
LONG = "x" * 250_000
KNN = "{demo-imagenet-knn: {}}"
RANDOM = "{random: {checkpoint: random}}"


def suite(name="hostile", root="out", methods=RANDOM, protocols=KNN, data="{imagenet: data}", cluster="{}", more=""):
    return (
        f"name: {name}\nroot: {root}\nmethods: {methods}\nprotocols: {protocols}\ndata: {data}\n"
        f"cluster: {cluster}\n{more}\n"
    )


def knn(entry):
    return suite(protocols=f"{{demo-imagenet-knn: {{{entry}}}}}")


def pretrained(entry):
    return suite(methods=f"{{a: {{pretrain: {{{entry}}}}}}}")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a suite beside its data and returns its file."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for split in ("train", "val"):
        (tmp_path / "data" / split / "cat").mkdir(parents=True)
        (tmp_path / "data" / split / "cat" / "1.png").touch()

    def written(text):
        (tmp_path / "suite.yaml").write_text(text)
        return tmp_path / "suite.yaml"

    return written


HOSTILE = {
    "seeds": (knn("seeds: 1000000000"), "seeds: is 1000000000, expected a whole number of at least 1 and at most 1000"),
    "a seed": (knn("seeds: [4294967296]"), "seeds: is 4294967296, expected .* at most 4294967295"),
    "a list as a seed": (knn("seeds: [[1]]"), r"seeds: is \[1\], expected a whole number"),
    "a float as seeds": (knn("seeds: 1.0e+30"), r"seeds: is 1e\+30, expected a whole number"),
    "a pretraining's seed": (pretrained(f"seed: {'9' * 50}"), "pretrain.seed: is 9+, expected .* at most 4294967295"),
    "trials of all protocols": (
        suite(
            protocols="{" + ", ".join(f"imagenet-knn@d{number}: {{seeds: 90000}}" for number in range(60)) + "}",
            data="{" + ", ".join(f"d{number}: data" for number in range(60)) + "}",
        ),
        "protocols.imagenet-knn@d1: 180000 trials up to here, .* expected 100000 at most",
    ),
    "trials of all methods": (
        suite(
            methods="{" + ", ".join(f"m{number}: {{checkpoint: random}}" for number in range(1001)) + "}",
            protocols="{demo-imagenet-knn: {seeds: 100}}",
        ),
        "100100 trials up to here",
    ),
    "GPUs": (knn("gpus: 99999999999"), "gpus: is 99999999999, expected .* at most 1000000"),
    "minutes": (knn("minutes: 99999999999"), "minutes: is 99999999999, expected .* at most 1000000"),
    "max_running": (suite(cluster="{max_running: 99999999999}"), "max_running is 99999999999, expected .* 1000000"),
    "a warning before the start": (suite(cluster="{signal_delay_s: -1}"), "signal_delay_s is -1, expected at least 0"),
    "a partition": (suite(cluster=f"{{partition: {LONG}}}"), "partition is 'x+', expected one word"),
    "an option of sbatch": (suite(cluster=f"{{sbatch: {{? {LONG} : 1}}}}"), "sbatch: 'x+' is no long option"),
    "what sbatch gets": (
        suite(cluster=f"{{sbatch: {{comment: {LONG}}}}}"),
        "sbatch.comment is 'x+, expected a text on",
    ),
    "a cause": (suite(cluster=f"{{retries: {{? {LONG} : 1}}}}"), "retries: unknown cause 'x+"),
    "a container": (suite(cluster='{container: "a\\nb"}'), r"container is 'a\\nb', expected a command on one line"),
    "an evaluator": (
        suite(protocols=f"{{coco-mrcnn-c4-1x: {{evaluator: {LONG}}}}}", data="{coco: data}"),
        "evaluator 'x+'",
    ),
    "epochs": (suite(protocols="{demo-imagenet-linear: {set: {epochs: 1e30}}}"), "setting epochs=1e30: expected int"),
    "a setting": (knn(f"set: {{neighbors: {LONG}}}"), r"setting neighbors=x+ \[\.\.\.\] x+: expected int values"),
    "a name": (suite(name=LONG), "name: 'x+ is no usable name"),
    "a method's name": (suite(methods=f"{{? {LONG} : {{checkpoint: random}}}}"), "methods: 'x+ is no usable name"),
    "half a letter": (suite(methods='{"\\ud800": {checkpoint: random}}'), r"line 3: .*half a letter, in '\\ud800'"),
    "a root": (suite(root=LONG), "root: is 'x+, expected a path, at most 4096 letters long"),
    "a deep root": (suite(root="y/" * 1900), "root: is 'y/.*, expected a path, .* 200 folders deep"),
    "NUL in a path": (suite(root='"a\\0b"'), r"line 2: .*control character.* in 'a\\x00b'"),
    "a checkpoint": (suite(methods=f"{{a: {{checkpoint: {LONG}}}}}"), "checkpoint is 'x+, expected a file"),
    "a checkpoint of the zoo": (suite(methods=f"{{a: {{checkpoint: 'zoo:{LONG}'}}}}"), "checkpoint is 'zoo:x+"),
    "data": (suite(data=f"{{imagenet: {LONG}}}"), "data.imagenet: is 'x+, expected a folder"),
    "a list of protocols": (suite(more=f"protocol_files: [{LONG}]"), "protocol_files: is 'x+, expected a path"),
    "a repeated method": (
        suite(methods="{a: {checkpoint: random}, a: {checkpoint: random}}"),
        "line 3: not valid YAML: 'a' is given twice",
    ),
    "depth": ("name: " + "[" * 100_000, "line 1: .*more than 30 values within each other"),
    "a file": ("#" * 300_001, "300001 bytes; expected 300000 at most; expected a suite file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_suite_ends_in_one_line(write, capsys, name):
    text, words = HOSTILE[name]
    file = write(text)
    began = time.process_time()
    assert twinbench.main(["suite", "plan", "--local", str(file)]) == 2
    assert time.process_time() - began < SECONDS
    out, err = capsys.readouterr()
    assert out == ""
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(err)
    assert str(file) in err
    assert err.count("\n") == 1
    assert len(err) < 6000


@pytest.mark.parametrize(
    "text",
    [
        knn("seeds: 1000000000"),
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    ],
)
def test_a_small_text_takes_little_memory(write, text):
    code = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_AS, (700 << 20, 700 << 20))\n"
        "import twinbench\n"
        "sys.exit(twinbench.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "suite", "plan", "--local", str(write(text))]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 2, run.stderr[-2000:]
    assert run.stderr.startswith("twinbench suite: ")
    assert run.stderr.count("\n") == 1


def test_the_most_seeds_are_read(write):
    (measurement,) = read_suite(write(knn(f"seeds: {MAX_TRIALS}"))).measurements
    assert measurement.seeds == tuple(range(MAX_TRIALS))


def test_what_jobs_read_of_a_suite_is_no_longer_than_the_suite(write):
    """Twenty thousand seeds, one a line, made a file that was too large to be read again."""
    suite = read_suite(write(knn("seeds: 20000")))
    again = read_suite(write_resolved(suite))
    assert again.measurements[0].seeds == tuple(range(20_000))
    assert len(build_jobs(again)) == 20_001


def test_seeds_that_are_no_row_are_kept_one_by_one(write):
    suite = read_suite(write(knn("seeds: [1, 2, 0]")))
    assert read_suite(write_resolved(suite)).measurements[0].seeds == (1, 2, 0)
