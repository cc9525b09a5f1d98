"""What Slurm says of how many jobs it takes of a user, and how many that leaves."""

import pytest

from twinbench.slurm import limits, scheduler
from twinbench.slurm.limits import Limit, Room, read_limits
from twinbench.slurm.scheduler import Queued, SchedulerError
from twinbench.suite.cluster import Cluster

ANSWERS = {
    "scontrol show config": [
        "AccountingStorageEnforce = associations,limits,qos",
        "MaxJobCount = 9",
        "MaxArraySize = 5",
    ],
    "sacctmgr assoc": ["vision|normal||", "physics|normal|4|"],
    "sacctmgr qos": ["normal|||", "few|3||", "many|8|7|6", "fast|2||"],
    "sacctmgr user": ["vision"],
    "scontrol show partition": [
        "PartitionName=gpu AllowGroups=ALL Default=YES QoS=N/A GraceTime=0",
        "PartitionName=quick Default=NO QoS=fast",
    ],
}


@pytest.fixture
def site(monkeypatch):
    answers = dict(ANSWERS)

    def ask(program, *words, stdin=""):
        if program == "sacctmgr":
            if "sacctmgr" not in answers:
                return answers[f"sacctmgr {words[words.index('show') + 1]}"]
            raise SchedulerError("sacctmgr: no accounting")
        return answers["scontrol show config" if "config" in words else "scontrol show partition"]

    monkeypatch.setattr(scheduler, "ask", ask)
    return answers


def most(cluster):
    """Return the numbers of the rules that jobs of a cluster come under."""
    return sorted(rule.most for rule in read_limits().of(cluster))


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, [9]),  # the default account and qos have none of their own
        ({"account": "physics"}, [4, 9]),
        ({"qos": "few"}, [3, 9]),
        ({"qos": "many"}, [6, 9]),  # the lowest of its three
        ({"partition": "quick"}, [2, 9]),  # the partition's own qos
        ({"partition": "gpu,quick", "account": "physics", "qos": "few"}, [2, 3, 4, 9]),
    ],
)
def test_the_rules_of_a_clusters_jobs(site, options, numbers):
    assert most(Cluster(**options)) == numbers


def test_the_longest_array_is_one_less_than_slurm_says(site):
    assert read_limits().array == 4


@pytest.mark.parametrize("enforced", ["none", "associations", ""])
def test_what_is_not_enforced_is_no_limit(site, enforced):
    site["scontrol show config"] = [f"AccountingStorageEnforce = {enforced}"]
    assert most(Cluster(qos="few")) == []


def test_without_accounting_the_controllers_own_limits_hold(site):
    site["sacctmgr"] = []
    assert most(Cluster(qos="few")) == [9]


def test_a_user_without_a_name_has_the_controllers_own_limits(site, monkeypatch):
    def nameless(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(limits.pwd, "getpwuid", nameless)
    assert most(Cluster(qos="few")) == [9]


def test_room_is_what_the_users_jobs_leave_of_every_rule(site):
    queue = [Queued("1", "x", "RUNNING", "", "physics", "normal"), Queued("2", "x", "PENDING", "", "vision", "few")]
    room = Room(read_limits(), queue)
    few, physics = Cluster(qos="few"), Cluster(account="physics")
    assert [room.take(few) for _ in range(3)] == [True, True, False]  # 3 less the one that is there
    assert [room.take(physics) for _ in range(4)] == [True, True, True, False]  # 4 less one
    assert [room.take(Cluster()) for _ in range(3)] == [True, True, False]  # 9 less 2, 2 and 3


def test_a_rule_counts_only_its_own():
    rule = Limit(5, "", account="a", qos="q")
    assert rule.room([Queued("1", "", "", "", "a", "q"), Queued("2", "", "", "", "a", "x")]) == 4
    assert rule.room([Queued(str(number), "", "", "", "a", "q") for number in range(9)]) == 0
