"""The processes of one run know of each other's end: when one fails or is killed, the others end within seconds.

Learned from NCCL: a process whose peer is gone waits in its next collective for ten minutes, and its own signals wait
with it. gloo notices at once, with a page of traceback. Under torchrun the agent ends the rest half a minute later;
under a plain srun nobody does.

Every process holds a connection to a thread of the main one. The kernel closes it however the process ends, so that
nothing beats and nothing is polled. A process that fails says in what words, and the others tell them as their own.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from twinbench.protocols.house import RunEnded, UserError
from twinbench.runtime.stopping import StopAsked

GRACE = 5.0  # seconds that a process has to end by itself when another one is lost
NEWS = 2.0  # seconds in which the news of a lost process follows the error of a collective
SIGNAL = 1.0  # seconds between the first and the last process that a scheduler ends with a signal
LAST = 30.0  # seconds in which all processes leave that were told to stop
ANSWER = 30.0  # seconds for a connection to the main process
GONE = "killed, or its machine is gone"
USER_ERROR = 2  # the front door's exit code

_open: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


def _close_in_child() -> None:
    """Close the connections that a loader process inherits: it may outlive the process that it loads for."""
    for connection in list(_open):
        connection.close()


os.register_at_fork(after_in_child=_close_in_child)


class WatchError(UserError):
    """Processes that cannot reach each other."""


class PeerLost(RunEnded):
    """Another process of the run has failed, or was killed; this one could not go on alone."""

    def __init__(self, message: str, exit_code: int) -> None:
        """End with the code of the process that failed."""
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Lost:
    """The end of a process: which one, its exit code, and its last words."""

    rank: int
    code: int
    words: str

    def error(self, world: int) -> PeerLost:
        """Return what the others raise."""
        how = "is gone" if self.words == GONE else "failed"
        return PeerLost(f"process {self.rank} of {world} {how} ({self.words}); this one cannot go on alone", self.code)


class Hub:
    """The thread of the main process that all are connected to."""

    def __init__(self, world: int, token: str) -> None:
        """Listen on any free port; only who knows the `token` is heard."""
        self.world, self.token = world, token
        self._listener = _listen_anywhere()
        _open.add(self._listener)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._members: dict[int, socket.socket] = {}
        self._left: set[int] = set()
        self._lost: Lost | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Hear one process until it has left, failed or gone."""
        _open.add(connection)
        _notice_dead_machines(connection)
        with connection:
            words = _messages(connection)
            hello = next(words, {})
            if hello.get("token") != self.token:
                return
            _send(connection, welcome=True)
            rank = int(hello["rank"])
            self._enter(rank, connection)
            word = next(words, {})
            if "left" in word:
                self._leave(rank)
                next(words, None)  # until it closes
            else:
                code, last = word.get("failed", (1, GONE))
                self._tell_lost(Lost(rank, code, last))

    def _enter(self, rank: int, connection: socket.socket) -> None:
        with self._lock:
            self._members[rank] = connection
            if self._lost:
                _send(connection, lost=[self._lost.rank, self._lost.code, self._lost.words])

    def _leave(self, rank: int) -> None:
        """Tell all when the last one has left; the main process last, as the connections end with it."""
        with self._lock:
            self._left.add(rank)
            if len(self._left) == self.world:
                for _, member in sorted(self._members.items(), reverse=True):
                    _send(member, all_left=True)

    def _tell_lost(self, lost: Lost) -> None:
        with self._lock:
            self._lost = self._lost or lost
            for rank, member in sorted(self._members.items(), reverse=True):
                if rank != lost.rank:
                    _send(member, lost=[lost.rank, lost.code, lost.words])


class Watch:
    """The end of the connection that every process holds, the main one included."""

    def __init__(self, connection: socket.socket, words: Generator[dict[str, Any]], world: int) -> None:
        """Listen to the hub at the other end of `connection`, whose further messages are `words`."""
        self.world = world
        self.lost: Lost | None = None
        self._socket, self._messages = connection, words
        self._news, self._outside = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @classmethod
    def reach(cls, hosts: Sequence[str], port: int, token: str, rank: int, world: int) -> "Watch":
        """Connect to the hub, which is one of `hosts`; WatchError where none of them answers."""
        for host in hosts:
            with contextlib.suppress(OSError):
                connection = socket.create_connection((host, port), timeout=ANSWER)
                _send(connection, token=token, rank=rank)
                words = _messages(connection)
                if "welcome" in next(words, {}):
                    connection.settimeout(None)
                    _open.add(connection)
                    _notice_dead_machines(connection)
                    return cls(connection, words, world)
                connection.close()
        raise WatchError(
            f"process {rank} on {os.uname().nodename} cannot reach process 0 on port {port} of {' or '.join(hosts)}; "
            "expected machines that reach each other on any port, as gloo and NCCL need it, too"
        )

    @contextmanager
    def over(self) -> Generator[None]:
        """Watch for the length of the block, and leave it together.

        Raises PeerLost where another process is lost and this one, waiting for it, found no better words.
        """
        try:
            yield
        except StopAsked:
            self._leave(LAST)  # the main process has saved for all: torchrun ends all when the first one exits
            raise
        except BaseException as error:
            if lost := self._behind(error):
                raise lost.error(self.world) from error
            self._fail(error)
            raise
        else:
            # NCCL's groups are taken down by all at about the same time; and where the main process goes on alone, for
            # an hour of solving perhaps, its end is the end of all.
            self._leave(None)
            if self.lost:
                raise self.lost.error(self.world)
        finally:
            self._outside.set()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _leave(self, limit: float | None) -> None:
        """Say that this process is done, and wait until all are, or one is lost."""
        _send(self._socket, left=True)
        self._news.wait(limit)

    def _behind(self, error: BaseException) -> Lost | None:
        """Return the lost process that an error came from: gloo's collectives fail when one of its processes ends."""
        if isinstance(error, UserError | RunEnded) or not isinstance(error, Exception):
            return None
        if isinstance(error, RuntimeError):
            self._news.wait(NEWS)
        if self.lost and self.lost.words == GONE:
            time.sleep(SIGNAL)  # where a scheduler ends all of them, by the signal and not by this error
        return self.lost

    def _fail(self, error: BaseException) -> None:
        """Tell the others in what words this process ends, and return when they have been told."""
        _send(self._socket, failed=[_exit_code(error), _words(error)])
        self._outside.set()
        self._thread.join(NEWS)  # the hub closes the connection

    def _listen(self) -> None:
        """Wait for the end of all, or of one. Where this process does not end by itself, end it: it waits in a
        collective that nobody else will come to, and which no signal interrupts."""
        word = next(self._messages, {})
        if "all_left" in word or self._outside.is_set():
            self._news.set()
            return
        lost = Lost(*word["lost"]) if "lost" in word else Lost(0, 1, GONE)  # with the main process its hub goes
        self.lost = lost
        self._news.set()
        if not self._outside.wait(GRACE):
            print(f"twinbench: {lost.error(self.world)}", file=sys.stderr, flush=True)
            os._exit(lost.code)


def _messages(connection: socket.socket) -> Generator[dict[str, Any]]:
    """Yield what the other end says, one JSON object a line, until the connection ends in whatever way."""
    rest = b""
    with contextlib.suppress(OSError, ValueError):
        while heard := connection.recv(4096):
            *lines, rest = (rest + heard).split(b"\n")
            for line in lines:
                yield json.loads(line)


def _send(connection: socket.socket, **word: object) -> None:
    """Say something; who has gone does not hear it."""
    with contextlib.suppress(OSError):
        connection.sendall(json.dumps(word).encode() + b"\n")


def _listen_anywhere() -> socket.socket:
    """Return a listening socket for both versions of IP, or for the one that there is."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _notice_dead_machines(connection: socket.socket) -> None:
    """Have the kernel ask every so often whether the other machine is there: one without power closes nothing."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)


def _exit_code(error: BaseException) -> int:
    """Return what the front door will exit with."""
    if isinstance(error, RunEnded):
        return error.exit_code
    return USER_ERROR if isinstance(error, UserError) else 1


def _words(error: BaseException) -> str:
    """Return an error in one line."""
    if isinstance(error, UserError | RunEnded):
        return str(error)
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
