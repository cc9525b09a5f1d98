"""How many jobs Slurm takes of one user at once, as far as it says so beforehand.

A limit that cannot be read is met when sbatch refuses (scheduler.QueueFull); then less is submitted.
"""

import os
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from twinbench.slurm import scheduler
from twinbench.slurm.scheduler import Queued, SchedulerError
from twinbench.suite.cluster import Cluster

QOS_LIMITS = ("MaxSubmitJobsPU", "MaxSubmitJobsPA", "GrpSubmitJobs")
USER_LIMITS = ("MaxSubmitJobs", "GrpSubmitJobs")


@dataclass(frozen=True)
class Limit:
    """At most so many jobs in the queue, of those that a rule is about."""

    most: int
    what: str  # the rule's place, in words
    account: str = ""
    qos: str = ""

    def room(self, queue: Iterable[Queued]) -> int:
        """Return how many more there may be beside what is in the `queue`."""
        counted = sum(
            (not self.account or entry.account == self.account) and (not self.qos or entry.qos == self.qos)
            for entry in queue
        )
        return max(0, self.most - counted)


@dataclass(frozen=True)
class Limits:
    """What the site says: the longest array, and the rules that a cluster's jobs come under."""

    array: int
    rules: tuple[Limit, ...] = ()
    by_account: dict[str, tuple[Limit, ...]] = field(default_factory=dict)
    by_qos: dict[str, Limit] = field(default_factory=dict)
    default_account: str = ""
    default_qos: str = ""
    qos_of_partition: dict[str, str] = field(default_factory=dict)

    def of(self, cluster: Cluster) -> list[Limit]:
        """Return the rules that jobs of `cluster` come under."""
        names = [cluster.qos or self.default_qos]
        names += [self.qos_of_partition.get(partition, "") for partition in cluster.partition.split(",")]
        found = [*self.rules, *self.by_account.get(cluster.account or self.default_account, ())]
        return found + [self.by_qos[name] for name in dict.fromkeys(names) if name in self.by_qos]

    def strictest(self, clusters: Iterable[Cluster]) -> Limit | None:
        """Return the lowest of the rules that jobs of some clusters come under, if there is any."""
        return min(
            (rule for cluster in clusters for rule in self.of(cluster)), key=lambda rule: rule.most, default=None
        )


class Room:
    """What may still be submitted beside a queue, counted down."""

    def __init__(self, limits: Limits, queue: Sequence[Queued]):
        """Count the user's jobs in the `queue` once for each rule."""
        self.limits, self.queue = limits, queue
        self._left: dict[Limit, int] = {}

    def take(self, cluster: Cluster) -> bool:
        """Count one more job of `cluster` in, if all rules that it comes under have room for it."""
        rules = self.limits.of(cluster)
        for rule in rules:
            if rule not in self._left:
                self._left[rule] = rule.room(self.queue)
        if not all(self._left[rule] for rule in rules):
            return False
        for rule in rules:
            self._left[rule] -= 1
        return True


def read_limits() -> Limits:
    """Ask Slurm; where it keeps no accounts, or does not enforce them, only the controller's own limits hold."""
    settings = scheduler.settings()
    array = int(settings.get("MaxArraySize", "1001")) - 1
    rules = [Limit(int(settings["MaxJobCount"]), "MaxJobCount")] if "MaxJobCount" in settings else []
    if not {"limits", "safe", "all"} & set(settings.get("AccountingStorageEnforce", "").lower().split(",")):
        return Limits(array, tuple(rules))
    try:
        return _with_accounts(array, tuple(rules))
    except (SchedulerError, KeyError):  # no accounts, or, in a container, no name for this user
        return Limits(array, tuple(rules))


def _with_accounts(array: int, rules: tuple[Limit, ...]) -> Limits:
    """Return the limits with those of this user's accounts, and of every qos; KeyError for a user without a name."""
    user = pwd.getpwuid(os.getuid()).pw_name
    columns = ("Account", "DefaultQOS", *USER_LIMITS)
    accounts: dict[str, list[Limit]] = {}
    default_qos = ""
    for account, qos, *limits in _table("assoc", columns, f"user={user}"):
        default_qos = default_qos or qos
        accounts.setdefault(account, []).extend(
            Limit(int(limit), f"{name} of account {account}", account=account)
            for name, limit in zip(USER_LIMITS, limits, strict=True)
            if limit
        )
    by_qos: dict[str, Limit] = {}
    for name, *limits in _table("qos", ("Name", *QOS_LIMITS)):
        known = [
            Limit(int(limit), f"{word} of qos {name}", qos=name)
            for word, limit in zip(QOS_LIMITS, limits, strict=True)
            if limit
        ]
        if known:
            by_qos[name] = min(known, key=lambda rule: rule.most)
    [default_account, *_] = [row[0] for row in _table("user", ("DefaultAccount",), f"user={user}")] or [""]
    return Limits(
        array,
        rules,
        {account: tuple(found) for account, found in accounts.items()},
        by_qos,
        default_account,
        default_qos or "normal",
        _qos_of_partitions(),
    )


def _table(kind: str, columns: Sequence[str], *where: str) -> list[list[str]]:
    """Return what sacctmgr lists, the cells of each row."""
    words = ("--noheader", "--parsable2", "show", kind, *where, f"format={','.join(columns)}")
    rows = (line.split("|") for line in scheduler.ask("sacctmgr", *words))
    return [row for row in rows if len(row) == len(columns)]


def _qos_of_partitions() -> dict[str, str]:
    """Return the qos that a partition lays upon its jobs, by its name; the default partition's also without a name."""
    names = {name: told.get("QoS", "N/A") for name, told in scheduler.partition_settings().items()}
    return {name: qos for name, qos in names.items() if qos != "N/A"}
