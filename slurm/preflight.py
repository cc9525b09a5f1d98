"""What this cluster does not offer a suite, found before anything is queued."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan
from twinbench.slurm.scheduler import Partition, SchedulerError
from twinbench.suite.graph import Job
from twinbench.suite.preflight import existing
from twinbench.suite.suite import Suite

LOCAL_DISKS = ("tmpfs", "overlay", "ramfs")  # file systems that no other node can see


def problems(suite: Suite, jobs: Sequence[Job]) -> list[str]:
    """Return what would keep the suite from running on this cluster, each with what to do."""
    found = []
    if "%" in str(suite.root):
        found.append(f"root {suite.root} holds a '%', which Slurm reads as a pattern; choose another")
    return [*found, *_cluster(suite, jobs)]


def remarks(suite: Suite) -> list[str]:
    """Return what may surprise on this cluster, but forbids nothing."""
    found = []
    kind = _file_system(suite.root)
    if kind in LOCAL_DISKS:
        found.append(f"the suite's root lies on a {kind} disk, which other nodes do not see")
    if _preempts_unwarned(suite):
        found.append("a preempted job gets no warning on this cluster: it goes on from its last checkpoint")
    return found


def _cluster(suite: Suite, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield what the partition does not offer."""
    try:
        known = scheduler.partitions()
    except SchedulerError as error:
        yield (
            f"Slurm's programs are here, but no cluster answers ({error}); "
            "go to a login node of the cluster, or add --local to use this machine"
        )
        return
    cluster = suite.cluster
    names = [name for name in cluster.partition.split(",") if name] or [""]
    for name in names:
        if name not in known:
            offered = ", ".join(sorted(filter(None, known)))
            yield f"cluster.partition: there is no partition '{name}' here; there are: {offered}"
        else:
            yield from _limits(suite, jobs, known[name])
    yield from _refusals(suite, jobs)
    longest = max((job.minutes for job in jobs), default=0)
    if longest * 60 < 2 * cluster.signal_delay_s + 60:
        yield (
            f"cluster: {longest} minutes leave no time to work beside a warning of signal_delay_s = "
            f"{cluster.signal_delay_s} s; raise minutes or lower signal_delay_s"
        )


def _refusals(suite: Suite, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield what sbatch itself objects to, asked without submitting: constraint, account, qos, memory, shape."""
    from twinbench.slurm.sbatch import script

    sizes = {(job.gpus, job.nodes, job.minutes): job for job in jobs}
    said: set[str] = set()
    for job in sizes.values():
        text = script(suite, Plan((job,), ()), suite.root / "code", suite.name, "")
        try:
            scheduler.ask("sbatch", "--test-only", stdin="\n".join(x for x in text.splitlines() if "--chdir" not in x))
        except SchedulerError as error:
            said.add(str(error).replace("allocation failure: ", ""))
    yield from sorted(said)


def _limits(suite: Suite, jobs: Sequence[Job], partition: Partition) -> Iterator[str]:
    """Yield what is more than the partition has; Slurm would accept such jobs and never start them."""
    longest = max((job.minutes for job in jobs), default=0)
    if longest > partition.minutes:
        yield (
            f"cluster: asks for {longest} minutes, but partition {partition.name} allows {partition.minutes:.0f}; "
            "lower minutes: a job that needs longer resumes by itself"
        )
    if suite.cluster.nodes > partition.nodes:
        yield f"cluster: asks for {suite.cluster.nodes} nodes, but partition {partition.name} has {partition.nodes}"
    if suite.cluster.gpus_per_node > partition.gpus_per_node:
        yield (
            f"cluster: gpus_per_node is {suite.cluster.gpus_per_node}, but a node of partition {partition.name} "
            f"has {partition.gpus_per_node}"
        )


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
