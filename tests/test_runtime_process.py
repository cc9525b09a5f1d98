"""Rank, world and device from the environment; logs that survive a kill."""

import subprocess
import sys

import pytest
import torch

from twinbench.runtime.process import Process, ProcessError, current_process, loader_workers
from twinbench.runtime.progress import JsonLog, bar, read_log


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("LOCAL_WORLD_SIZE", "SLURM_CPUS_PER_TASK", "SLURM_STEP_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


def test_plain_python_is_a_world_of_one():
    assert current_process("cpu") == Process(0, 1, 0, "cpu")
    assert current_process("cpu").is_main


def test_torchrun(monkeypatch):
    set_all(monkeypatch, RANK=5, WORLD_SIZE=8, LOCAL_RANK=1)
    assert current_process("cpu") == Process(5, 8, 1, "cpu")
    assert not current_process("cpu").is_main


def test_srun_counts_only_inside_a_job_step(monkeypatch):
    set_all(monkeypatch, SLURM_PROCID=3, SLURM_NTASKS=4, SLURM_LOCALID=1)
    assert current_process("cpu").world == 1  # a batch script's own shell
    set_all(monkeypatch, SLURM_STEP_ID=0)
    assert current_process("cpu") == Process(3, 4, 1, "cpu")


def test_torchrun_inside_srun_wins(monkeypatch):
    set_all(monkeypatch, SLURM_PROCID=0, SLURM_NTASKS=1, SLURM_LOCALID=0, SLURM_STEP_ID=0)
    set_all(monkeypatch, RANK=1, WORLD_SIZE=2, LOCAL_RANK=1)
    assert current_process("cpu").rank == 1


@pytest.mark.parametrize(
    ("rank", "world", "message"), [(2, 2, "expected 0 <= rank < world"), ("x", 2, "expected whole numbers")]
)
def test_impossible_groups_are_named(monkeypatch, rank, world, message):
    set_all(monkeypatch, RANK=rank, WORLD_SIZE=world, LOCAL_RANK=0)
    with pytest.raises(ProcessError, match=message):
        current_process("cpu")


def test_a_gpu_that_is_not_there():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ProcessError, match="no usable GPU.*--device cpu"):
        current_process("cuda")


def see_gpus(monkeypatch, count):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("asked", "device", "by_number"),
    [("auto", "cuda:1", False), ("cuda", "cuda:1", False), ("cuda:0", "cuda:0", True), ("cpu", "cpu", False)],
)
def test_each_process_has_a_gpu_of_its_own_or_the_one_it_names(monkeypatch, asked, device, by_number):
    see_gpus(monkeypatch, 4)
    set_all(monkeypatch, RANK=1, WORLD_SIZE=4, LOCAL_RANK=1)
    assert current_process(asked) == Process(1, 4, 1, device, by_number)


@pytest.mark.parametrize(("gpus", "device"), [(1, "cuda:0"), (2, "cuda:1"), (4, "cuda:3")])
def test_a_task_that_is_shown_its_own_gpus_alone_counts_among_these(monkeypatch, gpus, device):
    """`srun --gpus-per-task=1` shows task 3 one GPU, which it calls cuda:0; it used to ask for cuda:3."""
    see_gpus(monkeypatch, gpus)
    set_all(monkeypatch, SLURM_PROCID=7, SLURM_NTASKS=8, SLURM_LOCALID=3, SLURM_STEP_ID=0)
    assert current_process("auto").device == device


def test_a_gpu_beyond_those_that_are_seen_is_named(monkeypatch):
    see_gpus(monkeypatch, 2)
    with pytest.raises(ProcessError, match=r"--device cuda:2: this process sees 2 GPU\(s\), from cuda:0; expected one"):
        current_process("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "mps", "meta", "cuda:", "cuda:x", "cuda:-1", ""])
def test_another_device_is_named_with_those_that_are(name):
    with pytest.raises(ProcessError, match=f"--device {name}: expected auto, cpu, cuda, or one GPU as cuda:1"):
        current_process(name)


@pytest.mark.parametrize(
    ("cores", "process", "environment", "expected"),
    [
        (64, Process(device="cpu"), {}, 2),
        (64, Process(device="cuda:0"), {}, 16),
        (12, Process(device="cuda:0"), {}, 12),
        (64, Process(0, 8, 0, "cuda:0"), {"LOCAL_WORLD_SIZE": 8}, 8),  # torchrun: all see all cores
        (64, Process(8, 16, 0, "cuda:0"), {"LOCAL_WORLD_SIZE": 8, "SLURM_CPUS_PER_TASK": 64}, 8),  # one task
        (6, Process(3, 8, 3, "cuda:3"), {"SLURM_CPUS_PER_TASK": 6}, 6),  # srun, each task bound to its own
        (48, Process(3, 8, 3, "cuda:3"), {"SLURM_CPUS_PER_TASK": 6}, 6),  # srun, unbound
        (48, Process(3, 8, 3, "cuda:3"), {"SLURM_STEP_NUM_NODES": 2}, 12),  # four tasks a node
        (4, Process(0, 8, 0, "cuda:0"), {}, 1),
    ],
)
def test_loader_processes_follow_the_machine(monkeypatch, cores, process, environment, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    set_all(monkeypatch, **environment)
    assert loader_workers(process, None) == expected
    assert loader_workers(process, 0) == 0
    assert loader_workers(process, 40) == 40
    with pytest.raises(ProcessError, match="--workers -1: expected 0 .* or more"):
        loader_workers(process, -1)


def test_share_divides_evenly_or_says_so():
    assert Process(0, 4).share(256, "batch size") == 64
    with pytest.raises(ProcessError, match="batch size 10 does not divide by 4 processes"):
        Process(0, 4).share(10, "batch size")


def test_two_processes_meet(tmp_path):
    """torchrun starts two; the sum over ranks arrives in both."""
    code = (
        "import torch.distributed as dist, torch\n"
        "from twinbench.runtime.process import current_process, process_group\n"
        "process = current_process('cpu')\n"
        "with process_group(process) as device:\n"
        "    total = torch.tensor([process.rank + 1.0], device=device)\n"
        "    dist.all_reduce(total)\n"
        "    assert total.item() == 3.0\n"
    )
    script = tmp_path / "meet.py"
    script.write_text(code)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_log_lines_survive_a_half_written_one(tmp_path):
    log = JsonLog(tmp_path / "log.jsonl")
    for step in range(4):
        log.write(step=step, loss=1.0 / (step + 1))
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')  # the kill came here
    assert [line["step"] for line in read_log(log.path)] == [0, 1, 2, 3]
    log.cut("step", 2)
    log.write(step=2, loss=0.5)
    assert [line["step"] for line in read_log(log.path)] == [0, 1, 2]


def test_bar_is_silent_without_a_terminal(capsys):
    assert list(bar(range(3), what="work")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_tests_compute_on_one_thread():
    """By what conftest.py says before torch is there: two threads wait for each other on work so small."""
    assert torch.get_num_threads() == 1
