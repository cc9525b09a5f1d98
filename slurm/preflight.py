"""What this cluster does not offer a suite, found before anything is queued."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan
from twinbench.slurm.limits import Limit, read_limits
from twinbench.slurm.parameters import is_report, partition_names, report_minutes, size_of
from twinbench.slurm.scheduler import Partition, SchedulerError
from twinbench.suite.cluster import Cluster
from twinbench.suite.job import Job
from twinbench.suite.preflight import existing
from twinbench.suite.suite import Suite

PLACES = 3  # in Slurm's queue that a suite cannot do without, see launch.py
LOCAL_DISKS = ("tmpfs", "overlay", "ramfs")  # file systems that no other node can see


@dataclass(frozen=True)
class Asked:
    """What jobs of one place in the suite file ask for."""

    suite: Suite
    place: str  # protocols.voc07-svm, methods.mine, report
    cluster: Cluster
    minutes: int
    job: Job | None  # one of them; None: the report
    own_minutes: bool = False  # a protocol's short word for its cluster's

    def key(self, option: str) -> str:
        """Return where the suite file says an option: in the entry, or in the suite's cluster for all."""
        if option == "minutes" and (self.own_minutes or self.place == "report"):
            return f"{self.place}.minutes"
        if getattr(self.cluster, option) == getattr(self.suite.cluster, option):
            return f"cluster.{option}"
        return f"{self.where}.{option}"

    @property
    def where(self) -> str:
        """Where the entry's own options stand, as far as it has some."""
        if self.cluster == self.suite.cluster:
            return "cluster"
        return self.place if self.place == "report" else f"{self.place}.cluster"


def problems(suite: Suite, jobs: Sequence[Job]) -> list[str]:
    """Return what would keep the suite from running on this cluster, each with what to do."""
    found = []
    if "%" in str(suite.root):
        found.append(f"root {suite.root} holds a '%', which Slurm reads as a pattern; choose another")
    return [*found, *dict.fromkeys(_cluster(suite, jobs))]


def remarks(suite: Suite) -> list[str]:
    """Return what may surprise on this cluster, but forbids nothing."""
    found = []
    kind = _file_system(suite.root)
    if kind in LOCAL_DISKS:
        found.append(f"the suite's root lies on a {kind} disk, which other nodes do not see")
    if _preempts_unwarned(suite):
        found.append("a preempted job gets no warning on this cluster: it goes on from its last checkpoint")
    return [*found, *_ends(suite), *_waves(suite)]


def _ends(suite: Suite) -> Iterator[str]:
    """Yield which partitions of the suite end what they preempt."""
    try:
        known = scheduler.partition_settings()
    except SchedulerError:
        return
    ending = {name for name, told in known.items() if _ends_at_once(told)}
    for name in sorted({name for cluster in _clusters(suite) for name in partition_names(cluster)} & ending):
        yield (
            f"{f'partition {name}' if name else 'the default partition'} ends what it preempts, at once: such a job is "
            "submitted again when the suite's others have ended, and goes on from its last checkpoint"
        )


def _ends_at_once(told: Mapping[str, str]) -> bool:
    """Say whether a partition gives what it preempts no time to put itself back in the queue."""
    return told.get("PreemptMode") == "CANCEL" and told.get("GraceTime") == "0"


def _waves(suite: Suite) -> Iterator[str]:
    """Yield that there are more jobs than the site takes at once."""
    trials = len(suite.methods) * sum(len(entry.seeds) for entry in suite.measurements)
    try:
        rule = _strictest(suite)
    except SchedulerError:
        return
    if rule and trials + PLACES > rule.most:
        yield (
            f"the site takes {rule.most} jobs of yours at once ({rule.what}): the suite goes in waves, and its jobs "
            "submit what follows when they end"
        )


def _strictest(suite: Suite) -> Limit | None:
    """Return the lowest of the site's limits on how many jobs may be in the queue."""
    return read_limits().strictest(_clusters(suite))


def _clusters(suite: Suite) -> list[Cluster]:
    """Return the cluster options of all that a suite runs."""
    entries = (*suite.measurements, *suite.methods)
    return [*(entry.cluster for entry in entries), suite.report]


def _cluster(suite: Suite, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield what the partitions do not offer; what several entries ask for alike may come several times."""
    try:
        known = scheduler.partitions()
    except SchedulerError as error:
        yield (
            f"Slurm's programs are here, but no cluster answers ({error}); "
            "go to a login node of the cluster, or add --local to use this machine"
        )
        return
    rule = _strictest(suite)
    if rule and rule.most < PLACES:
        yield (
            f"the site takes {rule.most} jobs of yours at once ({rule.what}), a suite needs {PLACES}: one that "
            "measures, one that looks after the others, and its successor; choose another qos or account"
        )
    for asked in asked_of(suite, jobs, known):
        names = partition_names(asked.cluster)
        for name in names:
            if name in known:
                yield from _limits(asked, known[name])
            else:
                offered = ", ".join(sorted(filter(None, known)))
                yield f"{asked.key('partition')}: there is no partition '{name}' here; there are: {offered}"
        if not is_report(asked.job):
            yield from _warning(asked)
        if asked.job and known.keys() >= set(names):  # sbatch would say once more that a partition is none
            yield from _refusal(asked)


def asked_of(suite: Suite, jobs: Sequence[Job], known: Mapping[str, Partition]) -> list[Asked]:
    """Return what the jobs ask for, those of one place and size once, and what the report asks for."""
    minutes = {entry.protocol.name: entry.minutes for entry in suite.measurements}
    found: dict[tuple[object, ...], Asked] = {}
    table = next((job for job in jobs if is_report(job)), None)
    for job in jobs:
        if job is table:
            continue
        protocol = job.trial[1]
        place = f"protocols.{protocol}" if protocol else f"methods.{job.name.partition('/')[0]}"
        asked = Asked(suite, place, job.cluster, job.minutes, job, own_minutes=bool(minutes.get(protocol)))
        found.setdefault((place, job.gpus, job.nodes, job.minutes), asked)
    report = Asked(suite, "report", suite.report, report_minutes(suite.report, known), table)
    return [*found.values(), report]


def _limits(asked: Asked, partition: Partition) -> Iterator[str]:
    """Yield what is more than the partition has; Slurm would accept such jobs and never start them."""
    cluster, size = asked.cluster, size_of(asked.cluster, asked.job)
    if asked.minutes > partition.minutes:
        yield (
            f"{asked.key('minutes')}: asks for {asked.minutes} minutes, but partition {partition.name} allows "
            f"{partition.minutes:.0f}; lower minutes: a job that needs longer resumes by itself"
        )
    if size.nodes > partition.nodes:
        if asked.job and asked.job.kind == "trial":
            what = f"{asked.place}.gpus: asks for {size.nodes} nodes of {size.gpus}"
        else:
            what = f"{asked.key('nodes')}: asks for {size.nodes} nodes"
        yield f"{what}, but partition {partition.name} has {partition.nodes}"
    if size.gpus and cluster.gpus_per_node > partition.gpus_per_node:
        yield (
            f"{asked.key('gpus_per_node')}: gpus_per_node is {cluster.gpus_per_node}, but a node of partition "
            f"{partition.name} has {partition.gpus_per_node}"
        )


def _warning(asked: Asked) -> Iterator[str]:
    """Yield a time limit that is over before a job has done anything."""
    delay = asked.cluster.signal_delay_s
    if asked.minutes * 60 < 2 * delay + 60:
        yield (
            f"{asked.key('minutes')}: {asked.minutes} minutes leave no time to work beside a warning of signal_delay_s "
            f"= {delay} s; raise minutes or lower signal_delay_s"
        )


def _refusal(asked: Asked) -> Iterator[str]:
    """Yield what sbatch itself objects to, asked without submitting: constraint, account, qos, memory, shape."""
    from twinbench.slurm.sbatch import script

    assert asked.job
    text = script(asked.suite, Plan((asked.job,), ()), asked.suite.root / "code", asked.suite.name, "")
    try:
        scheduler.ask("sbatch", "--test-only", stdin="\n".join(x for x in text.splitlines() if "--chdir" not in x))
    except SchedulerError as error:
        yield f"{asked.where}: {str(error).replace('allocation failure: ', '')}"


def _preempts_unwarned(suite: Suite) -> bool:
    """Say whether jobs may be preempted without the warning signal."""
    try:
        settings = scheduler.settings()
    except SchedulerError:
        return False
    return "REQUEUE" in settings.get("PreemptMode", "") and "preempt_send_user_signal" not in settings.get(
        "SlurmctldParameters", ""
    )


def _file_system(path: Path) -> str:
    """Return the type of the file system that `path` is or will be on; empty where /proc does not say."""
    place = str(existing(path).resolve())
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [(len(mount[1]), mount[2]) for mount in mounts if Path(place).is_relative_to(mount[1])]
    return max(holding, default=(0, ""))[1]
