"""The group of a run's processes: how they find each other, by what they exchange, and how they part."""

import contextlib
import functools
import itertools
import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch.distributed import distributed_c10d

from twinbench.protocols.house import UserError
from twinbench.runtime.places import choose_backend, exchanged, own_place
from twinbench.runtime.stopping import StopAsked
from twinbench.runtime.watch import Hub, Watch

if TYPE_CHECKING:
    from twinbench.runtime.process import Process

JOIN = timedelta(minutes=10)  # imports from a slow disk take minutes
# In a collective, for the others: the main process asks for the size of every image of a set, on a slow disk for longer
# than NCCL's own ten minutes. Who waits for a process that has ended is told so, see watch.py.
PATIENCE = timedelta(hours=2)
ABORT = 5.0  # seconds
_count = itertools.count()  # of the groups that this process has joined, one trial after the other


class GroupError(UserError):
    """Processes that do not find each other."""


@contextmanager
def joined(process: "Process") -> Generator[None]:
    """Join the group of `process`, of two or more, for the length of the block; GroupError where that fails."""
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise GroupError(f"{', '.join(missing)} not set for {process.world} processes; start them with torchrun")
    store = _meet(process)
    hub = Hub(process.world, secrets.token_hex(8)) if process.is_main else None
    try:
        with _reach(hub, store, process).over():
            _start(store, process)
            yield
    except StopAsked:
        dist.destroy_process_group()
        raise
    except BaseException:
        _abandon()
        raise
    else:
        dist.destroy_process_group()
    finally:
        if hub:
            hub.close()


def _meet(process: "Process") -> Any:
    """Return a store that all processes share, for this group alone, when all have come to it."""
    address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    return dist.PrefixStore(f"twinbench{next(_count)}", _store(address, process.rank, process.world))


@functools.cache
def _store(address: str, rank: int, world: int) -> Any:
    """Return the store at `address`, kept as long as the process lives.

    A second group of the same processes would find the address taken, or its server just going away.
    """
    try:
        store, _, _ = next(dist.rendezvous("env://", rank, world, timeout=JOIN))
    except (dist.DistError, ValueError) as error:  # ValueError: a port that is no number
        reason = str(error).splitlines()[0]
        raise GroupError(
            f"{address}: process {rank} of {world} did not meet the others ({reason}); expected all to be started "
            f"within {JOIN.seconds} s and the port to be free; see what the others say, or choose another MASTER_PORT"
        ) from None
    return store


def _reach(hub: Hub | None, store: Any, process: "Process") -> Watch:
    """Connect to the hub, of which the main process tells where it is."""
    if hub:
        store.set("watch", json.dumps([_own_hosts(), hub.port, hub.token]))
        return Watch.reach(["localhost"], hub.port, hub.token, process.rank, process.world)
    hosts, port, token = json.loads(store.get("watch"))
    return Watch.reach(hosts, port, token, process.rank, process.world)


def _own_hosts() -> list[str]:
    """Return the names by which others may reach this machine.

    The first one is the rule. With torchrun's own rendezvous it may be another machine; a name may lead elsewhere on
    other machines (Debian's own name is 127.0.1.1 at home).
    """
    hosts = [os.environ["MASTER_ADDR"], os.uname().nodename]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((hosts[0], int(os.environ["MASTER_PORT"])))  # sends nothing: asks for the way there
        hosts.append(asking.getsockname()[0])
    return list(dict.fromkeys(hosts))


def _start(store: Any, process: "Process") -> None:
    """Form the group, by what the places of its processes allow."""
    own = own_place(process.device, process.by_number)
    backend, warning = choose_backend(exchanged(store, own, process.rank, process.world))
    if warning and process.is_main:
        print(f"twinbench: {warning}", file=sys.stderr)
    group = dist.PrefixStore("group", store)
    dist.init_process_group(backend, store=group, rank=process.rank, world_size=process.world, timeout=PATIENCE)


def _abandon() -> None:
    """Give the group up without the others: NCCL's proper end waits for them."""
    if not dist.is_initialized():
        return
    if dist.get_backend() != "nccl":
        dist.destroy_process_group()
        return
    ending = threading.Thread(target=distributed_c10d._abort_process_group, daemon=True)
    ending.start()
    ending.join(ABORT)
