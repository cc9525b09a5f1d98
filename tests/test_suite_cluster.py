"""What a suite may ask of a site: options over options, what sbatch gets of them, and what is refused."""

import shlex
from pathlib import Path

import pytest
import yaml

import twinbench
from twinbench.slurm.parameters import parameters, report_minutes
from twinbench.slurm.scheduler import Partition
from twinbench.suite.cluster import REPORT_MINUTES, Cluster, ClusterError, with_options
from twinbench.suite.graph import build_jobs
from twinbench.suite.job import Job
from twinbench.suite.resolved import write_resolved
from twinbench.suite.suite import SuiteError, read_suite

COMMENT = """it's "two" $(rm -rf /) `ls` #SBATCH --wrap=x; a && b % ü"""


def cluster(**options):
    return with_options(Cluster(), options)


def asked(options, gpus=2, **more):
    """Return what sbatch is asked for by a trial on `gpus` GPUs, by its long options."""
    from submitit.slurm.slurm import _make_sbatch_string

    job = Job("a", "trial", (), Path("/out"), gpus=gpus, cluster=options, **more)
    told = parameters(options, job, Path("/code"), Path("/root"), "s.1", "")
    text = _make_sbatch_string("run", "/slurm", **told)
    lines = [line for line in text.split("# setup")[0].splitlines() if line.startswith("#SBATCH")]
    assert len(lines) == text.count("\n#SBATCH"), text
    pairs = [shlex.split(line)[1].removeprefix("--").partition("=") for line in lines]
    assert len(pairs) == len({name for name, *_ in pairs}), text
    return {name: value if equals else True for name, equals, value in pairs}


def test_any_long_option_of_sbatch_is_passed_on():
    options = {"exclude": "n[3-5],n9", "mail_type": "END", "exclusive": True, "nice": 100, "comment": COMMENT}
    told = asked(cluster(sbatch=options))
    for name, value in options.items():
        assert told[name.replace("_", "-")] == (value if value is True else str(value))
    assert told["gpus-per-node"] == "1"


def test_no_wckey_is_asked_for_unless_the_suite_does():
    assert "wckey" not in asked(cluster())
    assert asked(cluster(sbatch={"wckey": "vision"}))["wckey"] == "vision"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gpu_type": "a100"}, {"gpus-per-node": "a100:2"}),
        ({"sbatch": {"gres": "gpu:a100:2,tmp:9"}}, {"gres": "gpu:a100:2,tmp:9"}),
        ({"sbatch": {"gpus-per-task": "1"}, "gpu_type": "a100"}, {"gpus-per-task": "1"}),
        ({"sbatch": {"gres": "tmp:9"}}, {"gres": "tmp:9", "gpus-per-node": "2"}),
    ],
)
def test_gpus_are_asked_for_once_in_the_sites_own_words(options, told):
    def gpu_words(found):
        return {name: value for name, value in found.items() if name.startswith(("gpus", "gres"))}

    options = cluster(gpus_per_node=2, **options)
    assert gpu_words(asked(options)) == told
    without = gpu_words(asked(options, gpus=0))
    assert without == ({"gres": "tmp:9"} if "tmp" in str(options.sbatch) else {})


def test_processes_on_nodes_without_gpus_share_one():
    told = asked(cluster(gpus_per_node=0), gpus=3)
    assert (told["nodes"], told["ntasks-per-node"]) == ("1", "3")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("time", 3, "sbatch.time: twinbench sets itself; use minutes"),
        ("tim", 3, "sbatch.tim is short for time, which twinbench sets itself; use minutes"),
        ("cpus_per_task", 3, "sbatch.cpus-per-task: twinbench sets itself; use cpus_per_gpu"),
        ("partition", "gpu", "use partition"),
        ("nodes", 2, "use nodes for a pretraining, gpus for a protocol"),
        ("wrap", "rm x", "sbatch.wrap: twinbench sets itself; leave it out"),
        ("array", "0-9", "leave it out"),
        ("--exclude", "n1", "'--exclude' is no long option"),
        ("a=b\n#SBATCH --x", "n1", r"is no long option"),
        ("comment", "a\n#SBATCH --wrap=x", r"sbatch.comment is 'a.n#SBATCH --wrap=x', expected a text on one line"),
        ("comment", "a\\", "without a backslash"),
        ("comment", "", "expected a text"),
        ("comment", "x" * 5000, "expected a text"),
        ("comment", ["a"], r"sbatch.comment is \['a'\]"),
        ("exclusive", False, "null to take it away"),
        ("nice", 1.5, "a whole number"),
    ],
)
def test_what_twinbench_sets_and_what_would_break_a_script_is_refused(option, value, words):
    with pytest.raises(ClusterError, match=f"^cluster: .*{words}"):
        cluster(sbatch={option: value})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sbatch": ["exclude"]}, "sbatch is .* expected sbatch's long options"),
        ({"sbatch": {"mail-type": "END", "mail_type": "ALL"}}, "sbatch.mail-type is given twice"),
        ({"gpu_type": "4"}, "gpu_type is '4', expected the name of a type"),
        ({"gpu_type": "a100:2"}, "gpu_type is 'a100:2'"),
        ({"retries": {"nodes": 1}}, "retries: unknown cause 'nodes'. Did you mean 'node'?"),
        ({"retries": {"node": 11}}, "retries.node is 11, expected a whole number of at most 10"),
        ({"retries": {"memory": True}}, "retries.memory is True"),
        ({"container": "a\nb"}, "container is .*, expected a command on one line"),
        ({"container": ["a"]}, "container is .* expected one value"),
        ({"partition": True}, "partition is True, expected one value; put a text into quotes"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(options, words):
    with pytest.raises(ClusterError, match=f"^cluster: {words}"):
        cluster(**options)


def test_maps_are_laid_over_each_other_and_null_takes_back():
    site = cluster(environment={"A": 1, "B": 2}, sbatch={"exclude": "n1", "mail-type": "END"}, retries={"node": 5})
    over = with_options(site, {"environment": {"B": None, "C": 3}, "sbatch": {"exclude": None, "nice": 1}})
    assert over.environment == {"A": "1", "C": "3"}
    assert over.sbatch == {"mail-type": "END", "nice": "1"}
    assert over.retries == {"node": 5, "memory": 1}
    taken = with_options(cluster(partition="gpu", sbatch={"nice": 1}), {"partition": None, "sbatch": None})
    assert taken == Cluster()
    assert with_options(site, {"retries": {"node": None}}).retries == {"node": 2, "memory": 1}


def test_a_report_takes_no_longer_than_its_partition_allows_unless_told():
    known = {name: Partition(name, minutes, 2, 4) for name, minutes in (("", 30), ("short", 20), ("long", 1440))}
    for partition, minutes in (("", 30), ("short", 20), ("short,long", 20), ("long", 60), ("nowhere", 60)):
        assert report_minutes(cluster(minutes=REPORT_MINUTES, partition=partition), known) == minutes
    assert report_minutes(cluster(minutes=45, partition="short"), known) == 45  # plan says so


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a suite with the given entries and reads it."""
    for name in ("home", "voc", "in", "coco"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "list.txt").write_text("n1_1.JPEG\n")
    base = {
        "name": "s", "root": "out", "data": {"voc": "voc", "imagenet": "in", "coco": "coco"},
        "methods": {"random": {"checkpoint": "random"}}, "protocols": {"imagenet-knn": {}},
    }  # fmt: skip

    def written(**entries):
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump(base | entries))
        return read_suite(tmp_path / "suite.yaml")

    return written


SITE = {"sbatch": {"exclude": "n1", "nice": 3}, "environment": {"A": "x", "B": "'"}, "retries": {"node": 0}}
SUITES = {
    "plain": {},
    "all": {
        "cluster": {
            **SITE,
            "partition": "gpu",
            "minutes": 90,
            "setup": ["a b"],
            "gpu_type": "a100",
            "gpus_per_node": 4,
        },
        "methods": {"mine": {"pretrain": {"recipe": "demo"}, "cluster": {"nodes": 2, "sbatch": {"exclude": None}}}},
        "protocols": {
            "imagenet-1pct": {"list": "list.txt", "gpus": 8, "minutes": 5, "cluster": {"environment": {"A": None}}},
            "voc0712-frcnn-c4": {"scale_to": 4, "set": {"lr": 0.1}, "cluster": {"partition": None, "setup": []}},
            "coco-mrcnn-fpn-1x": {"evaluator": "faster-coco-eval", "cluster": {"sbatch": {"comment": COMMENT}}},
        },
        "report": {"partition": "short", "sbatch": None, "retries": {"node": 1}},
    },
    "a report as long as trials": {"cluster": {"minutes": 60}, "report": {"minutes": 1440}},
    "flags": {
        "cluster": {"sbatch": {"exclusive": 1}},
        "protocols": {"voc07-svm": {"cluster": {"sbatch": {"exclusive": True}}}},
    },
}


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_that_was_written_down_is_the_same_suite(write, name):
    suite = write(**SUITES[name])
    again = read_suite(write_resolved(suite))
    for field in vars(suite).keys() - {"file"}:
        assert getattr(again, field) == getattr(suite, field)
    words = [(job.name, job.argv, repr(job.cluster)) for job in build_jobs(suite)]
    assert [(job.name, job.argv, repr(job.cluster)) for job in build_jobs(again)] == words


def test_a_report_has_an_hour_whatever_trials_have(write):
    assert write(cluster={"minutes": 600}).report.minutes == 60
    assert write(cluster={"minutes": 600}, report={"minutes": 5}).report.minutes == 5


@pytest.mark.parametrize(
    ("entry", "option"), [("protocols", "max_running"), ("protocols", "nodes"), ("methods", "max_running")]
)
def test_an_option_of_the_whole_suite_belongs_to_no_entry(write, entry, option):
    name, entries = {"protocols": ("voc07-svm", {}), "methods": ("random", {"checkpoint": "random"})}[entry]
    with pytest.raises(SuiteError, match=f"{entry}.{name}: cluster: {option} does not belong to this entry"):
        write(**{entry: {name: {**entries, "cluster": {option: 2}}}})


def test_the_linear_rule_and_the_evaluator_are_words_of_a_suite_as_of_the_command(write):
    """The rule changes the recipe, as on the command line; who computes AP is told to the command alone."""
    entries = {"voc0712-frcnn-c4": {"seeds": 1, "scale_to": 4, "set": {"lr": 0.1}}}
    job, _ = build_jobs(write(protocols=entries))
    given = [job.argv[at + 1] for at, word in enumerate(job.argv) if word == "--set"]
    # Goyal et al.: half of the batch, twice the iterations; of the rate --set has the last word
    assert given == ["batch_size=8", "iterations=48000", "lr=0.1", "steps=36000,44000", "warmup_iterations=2000"]
    entries = {"coco-mrcnn-fpn-1x": {"seeds": 1, "evaluator": "faster-coco-eval"}}
    job, _ = build_jobs(write(protocols=entries))
    assert job.argv[-2:] == ("--evaluator", "faster-coco-eval")
    plain, _ = build_jobs(write(protocols={"coco-mrcnn-fpn-1x": {"seeds": 1}}))
    assert job.parts() == plain.parts()


def test_what_finds_patches_and_how_they_are_kept_are_words_of_a_suite_as_of_the_command(write):
    entries = {"voc12-hummingbird": {"seeds": 1, "search": "faiss", "compress": True}}
    suite = write(protocols=entries)
    job, _ = build_jobs(suite)
    at = job.argv.index("--search")
    assert job.argv[at : at + 3] == ("--search", "faiss", "--compress")
    assert build_jobs(read_suite(write_resolved(suite)))[0].argv == job.argv  # as a node of the cluster reads it
    plain, _ = build_jobs(write(protocols={"voc12-hummingbird": {"seeds": 1}}))
    assert {"--search", "--compress"}.isdisjoint(plain.argv)
    assert job.parts() == plain.parts()


def test_a_plan_is_shown_where_programs_of_slurm_are_but_no_cluster(write, tmp_path, monkeypatch, capsys):
    suite = write(protocols={"imagenet-knn": {"minutes": 77}})
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert twinbench.main(["suite", "plan", str(suite.file), "--scripts"]) == 2
    out, err = capsys.readouterr()
    assert "missing: 2 jobs" in out  # the report is one
    assert "#SBATCH --time=77\n" in out
    assert "Slurm's programs are here, but no cluster answers (sinfo: no such program here" in err


def test_no_protocol_is_called_after_what_lies_in_a_methods_folder(write, tmp_path):
    own = "protocols: {backbone: {recipe: imagenet-knn, data: imagenet, source: ours}}\n"
    (tmp_path / "own.yaml").write_text(own)
    with pytest.raises(SuiteError, match="protocols.backbone: a method's folder backbone/ has that name"):
        write(protocol_files=["own.yaml"], protocols={"backbone": {}})


def test_no_method_is_called_after_what_a_suite_writes():
    from fnmatch import fnmatchcase

    from twinbench.slurm import ledger
    from twinbench.suite import again, finish, graph, job, methods, resolved

    for name in (
        *finish.FILES.values(),
        again.FOLDER,
        graph.FEATURES,
        job.REPORT,
        resolved.FILE,
        ledger.FILE,
        "code",
        "slurm",
    ):
        assert any(fnmatchcase(name, ours) for ours in methods.OURS), name
