"""Everything that is asked of Slurm's own programs, and what their answers mean. Submitting is launch.py's."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twinbench.protocols.house import UserError
from twinbench.runtime.duration import duration
from twinbench.slurm import outside

ANSWER_SECONDS = 30  # a controller that is down lets its clients wait for about 9 s


class SchedulerError(UserError):
    """Slurm is not there, does not answer, or refuses."""


class QueueFull(SchedulerError):
    """Slurm takes no more jobs of this user for now."""


@dataclass(frozen=True)
class Queued:
    """A job as squeue shows it."""

    slurm_id: str  # `17`, or `17_3` for an array's element
    name: str
    state: str  # PENDING, RUNNING, COMPLETING, ...
    reason: str  # why it waits, or where it runs
    account: str = ""
    qos: str = ""


@dataclass(frozen=True)
class Accounted:
    """A job as sacct remembers it."""

    state: str  # COMPLETED, FAILED, TIMEOUT, OUT_OF_MEMORY, ...
    code: str  # `exit code:signal`
    nodes: str
    memory: str = ""  # that a node was asked for, as `500M`


@dataclass(frozen=True)
class Partition:
    """What a partition offers."""

    name: str
    minutes: float  # longest time limit; infinite if there is none
    nodes: int
    gpus_per_node: int

    @property
    def words(self) -> str:
        """The partition for people."""
        gpus = f" of {self.gpus_per_node} GPUs" if self.gpus_per_node else ""
        limit = "no time limit" if math.isinf(self.minutes) else f"at most {duration(60 * self.minutes)}"
        return f"partition {self.name}: {self.nodes} nodes{gpus}, {limit}"


NEVER = {
    # squeue's reasons that no waiting cures -> what they mean
    "DependencyNeverSatisfied": "a job it needs has failed",
    "PartitionTimeLimit": "asks for more time than its partition allows",
    "PartitionNodeLimit": "asks for more nodes than its partition has",
    "BadConstraints": "no node fulfils its constraint",
    "AccountNotAllowed": "its account may not use this partition",
    "QOSNotAllowed": "its qos may not use this partition",
    "launch failed requeued held": "its node could not start it, and Slurm holds it",
}
# What accounting says of jobs that have not ended, as far as it knows: it is behind the queue by LAG_SECONDS.
ALIVE = ("PENDING", "RUNNING", "REQUEUED", "COMPLETING", "SUSPENDED", "RESIZING")
LAG_SECONDS = 6.0
LAUNCH_FAILED = "launch failed requeued held"
HELD = {"JobHeldUser": "held; `scontrol release` lets it go", "JobHeldAdmin": "held by an administrator"}
FULL = (
    r"(?i)job submit limit|MaxSubmitJob|GrpSubmitJob|unable to accept job|MaxJobCount"  # sbatch's words for QueueFull
)
ARGUMENT_IDS = 5000  # in one argument, of which Linux takes 128 KB


def has_slurm() -> bool:
    """Say whether jobs can be submitted from here."""
    return shutil.which("sbatch") is not None or outside.place() is not None


def own_id() -> str:
    """Return Slurm's id of the job that this process belongs to, as squeue writes it; empty outside of one."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", "")


def queue(users: Iterable[str]) -> list[Queued]:
    """Return all jobs of some users (names or numbers) in the queue, each array element for itself."""
    form = "--format=%i|%j|%T|%a|%q|%R"  # the reason last: it may hold anything
    lines = ask("squeue", "--noheader", "--array", f"--user={','.join(sorted(users))}", form)
    found: list[Queued] = []
    for line in lines:
        slurm_id, name, state, account, qos, reason = line.split("|", 5)
        found.append(Queued(slurm_id, name, state, reason, account, qos))
    return found


def history(slurm_ids: Iterable[str], names: Iterable[str]) -> dict[str, Accounted]:
    """Return what accounting says of jobs, by id; rows of other names are older jobs of a recycled id."""
    ids = sorted({slurm_id.partition("_")[0] for slurm_id in slurm_ids})
    known = set(names)
    form = "--format=JobID%40,JobName%120,State%40,ExitCode,NodeList%80,ReqMem"
    found: dict[str, Accounted] = {}
    for start in range(0, len(ids), ARGUMENT_IDS):
        some = ",".join(ids[start : start + ARGUMENT_IDS])
        for line in ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={some}", form):
            slurm_id, name, state, code, nodes, memory = line.split("|")
            if name in known:
                for element in expand(slurm_id):
                    found[element] = Accounted(state, code, nodes, memory)
    return found


def last_nodes(slurm_id: str) -> list[str]:
    """Return the nodes that a job had in its last run that has ended, each by its name; none where nobody knows."""
    form = ("--format=JobID,NodeList%200", "--noheader", "--parsable2", "--allocations", "--duplicates")
    try:
        rows = [line.split("|") for line in ask("sacct", f"--jobs={slurm_id}", *form)]
        lists = [nodes for found, nodes in rows if found == slurm_id and nodes and "assigned" not in nodes]
        return ask("scontrol", "show", "hostnames", lists[-1]) if lists else []
    except SchedulerError:
        return []  # no accounting


def wait_for(slurm_id: str, dependency: str) -> None:
    """Have a job that has not started wait for other jobs, and for no time; SchedulerError if it has started."""
    ask("scontrol", "update", f"JobId={slurm_id}", f"Dependency={dependency}", "StartTime=now")


def expand(slurm_id: str) -> list[str]:
    """Return the elements of an array's pending part: `17_[2-4,7%2]` is 17_2, 17_3, 17_4 and 17_7."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", slurm_id)
    if not match:
        return [slurm_id]
    elements: list[str] = []
    for part in match[2].split(","):
        first, _, last = part.partition("-")
        elements += [f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1)]
    return elements


def partitions() -> dict[str, Partition]:
    """Return the partitions by name; the default one also under the empty name."""
    found: dict[str, Partition] = {}
    for line in ask("sinfo", "--noheader", "--format=%P|%l|%D|%G"):
        name, limit, nodes, gres = line.split("|", 3)
        plain = name.rstrip("*")
        before = found.get(plain)
        partition = Partition(
            plain,
            minutes_of(limit),
            int(nodes) + (before.nodes if before else 0),
            max(_gpus(gres), before.gpus_per_node if before else 0),
        )
        found[plain] = partition
        if name.endswith("*"):
            found[""] = partition
    return found


def partition_settings() -> dict[str, dict[str, str]]:
    """Return what the controller says of each partition, by name; of the default one also under the empty name."""
    found: dict[str, dict[str, str]] = {}
    for line in ask("scontrol", "--oneliner", "show", "partition"):
        told: dict[str, str] = dict(re.findall(r"(\w+)=(\S*)", line))
        found[told.get("PartitionName", "")] = told
        if told.get("Default") == "YES":
            found[""] = told
    return found


def settings() -> dict[str, str]:
    """Return the controller's configuration."""
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config"))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def cancel(slurm_ids: Sequence[str]) -> None:
    """Cancel jobs, in the order given."""
    for start in range(0, len(slurm_ids), 500):
        ask("scancel", *slurm_ids[start : start + 500])


def minutes_of(text: str) -> float:
    """Parse Slurm's `days-hours:minutes:seconds`, `minutes:seconds` or `infinite`."""
    if text in ("infinite", "UNLIMITED", "n/a"):
        return float("inf")
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        parts += [0] * (3 - len(parts))
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _gpus(gres: str) -> int:
    """Count the GPUs in a node's `gpu:a100:8(S:0-1),...`."""
    return sum(int(count) for count in re.findall(r"gpu(?::[A-Za-z_][\w.-]*)?:(\d+)", gres))


def ask(program: str, *words: str, stdin: str = "") -> list[str]:
    """Run one of Slurm's programs and return the lines of its answer; SchedulerError in one line if it has none."""
    try:
        run = _run([program, *words], stdin)
    except subprocess.TimeoutExpired:
        raise SchedulerError(f"{program} gave no answer in {ANSWER_SECONDS} s; try again later") from None
    except FileNotFoundError:
        raise SchedulerError(f"{program}: no such program here; run this on a login node of the cluster") from None
    except OSError as error:
        raise SchedulerError(f"{program}: cannot be asked from here: {error.filename}: {error.strerror}") from None
    if run.returncode:
        said = " / ".join(line.strip() for line in run.stderr.splitlines() if line.strip())
        kind = QueueFull if program == "sbatch" and re.search(FULL, said) else SchedulerError
        raise kind(f"{program}: {said or f'exit code {run.returncode}'}")
    return run.stdout.splitlines()


def _run(words: Sequence[str], stdin: str) -> subprocess.CompletedProcess[str]:
    """Run a program; in a job, the shell outside of its container does if it is not here. A job's sbatch runs there in
    any case: to a new job it hands its environment on, the number of this array's element included."""
    folder = outside.place()
    if folder and (words[0] == "sbatch" or not shutil.which(words[0])):
        return outside.ask(folder, words, stdin, ANSWER_SECONDS + 10)
    return subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
