"""Every reason why a suite could not run on this cluster, found before anything is queued."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from twinbench.slurm import scheduler
from twinbench.slurm.batches import Plan
from twinbench.slurm.scheduler import Partition, SchedulerError
from twinbench.suite.estimate import disk_bytes
from twinbench.suite.graph import Job
from twinbench.suite.suite import Suite, SuiteError

LOCAL_DISKS = ("tmpfs", "overlay", "ramfs")  # file systems that no other node can see


def require_sound(suite: Suite, jobs: Sequence[Job]) -> None:
    """Raise SuiteError with every problem, one line for all."""
    found = problems(suite, jobs, local=False)
    if found:
        hint = "" if "--local" in found[-1] else " (--local runs it on this machine)"
        raise SuiteError(f"{suite.file}: nothing was queued: {'; '.join(found)}{hint}")


def problems(suite: Suite, jobs: Sequence[Job], *, local: bool) -> list[str]:
    """Return what would keep the suite from running, each with what to do."""
    found = list(_root(suite, jobs))
    found += _checkpoints(suite)
    if not local:
        found += _cluster(suite, jobs)
    return found


def remarks(suite: Suite, *, local: bool) -> list[str]:
    """Return what may surprise, but forbids nothing."""
    from twinbench.report.provenance import code

    found = []
    if code()["dirty"] == "True":
        found.append("the checkout has changes that are not committed; results will say so")
    kind = _file_system(suite.root)
    if not local and kind in LOCAL_DISKS:
        found.append(f"the suite's root lies on a {kind} disk, which other nodes do not see")
    if not local and _preempts_unwarned(suite):
        found.append("a preempted job gets no warning on this cluster: it goes on from its last checkpoint")
    return found


def _root(suite: Suite, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield what is wrong with the folder everything is written to."""
    if "%" in str(suite.root):
        yield f"root {suite.root} holds a '%', which Slurm reads as a pattern; choose another"
    place = _existing(suite.root)
    if not os.access(place, os.W_OK):
        yield f"{place} is not writable; choose a root on a disk that you and all nodes can write to"
        return
    disk, free = disk_bytes(jobs), shutil.disk_usage(place).free
    needed = sum(disk[job.name] for job in jobs if not job.product.exists())
    if needed > free:
        yield f"{place} has {free / 1e9:.1f} GB free, but the missing jobs write about {needed / 1e9:.1f} GB; make room"


def _checkpoints(suite: Suite) -> Iterator[str]:
    """Yield the checkpoints that hold no whole backbone; each file is proven once. Of another library's model, whose
    tensors only the library knows, the file must at least be a checkpoint."""
    for method in suite.methods:
        if not method.file:
            continue
        made = suite.root / method.name / "backbone" / "resnet50.pth"
        if made.exists():
            continue
        from twinbench.convert.load import CheckpointError, load_backbone
        from twinbench.convert.reader import open_checkpoint

        try:
            (open_checkpoint if method.model else load_backbone)(method.file)
        except CheckpointError as error:
            yield f"methods.{method.name}: {error}"


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


def _existing(path: Path) -> Path:
    """Return the nearest folder above `path` that exists, or `path` itself."""
    while not path.exists():
        path = path.parent
    return path


def _file_system(path: Path) -> str:
    """Return the type of the file system that `path` is or will be on; empty where /proc does not say."""
    place = str(_existing(path).resolve())
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    holding = [(len(mount[1]), mount[2]) for mount in mounts if Path(place).is_relative_to(mount[1])]
    return max(holding, default=(0, ""))[1]
