"""Network namespaces, and a long line between two of them.

The kernels these tests meet have no `sch_netem`, so the line is two tun devices, one in each namespace, and a thread that
carries packets from one to the other after a while, or drops them. Needs root and /dev/net/tun.
"""

import fcntl
import heapq
import itertools
import os
import select
import struct
import subprocess
import threading
import time

import support

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def urgent():
    """The front of a command line that is not to wait for other work of this machine, where that may be had."""
    front = ["chrt", "--rr", "10"]
    return front if support.command([*front, "true"]).returncode == 0 else []


class Space:
    """A network namespace of its own, there as long as a process in it."""

    def __init__(self):
        self.holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        if self.holder.stdout.readline() != b"up\n":
            self.close()
            raise OSError("no network namespace")

    def inside(self, *arguments):
        """The command line that runs a command in here."""
        return ["nsenter", "--net", "--target", str(self.holder.pid), *map(str, arguments)]

    def run(self, *arguments, **options):
        run = support.command(self.inside(*arguments), **options)
        if run.returncode != 0:
            raise OSError(f"{arguments}: {run.stdout[-2000:]}{run.stderr}")
        return run.stdout

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


class Line:
    """Two namespaces, `near` (10.9.0.1) and `far` (10.9.0.2), `delay` seconds apart each way.

    `drop(packet)` decides what gets lost on the way from near to far.
    """

    NEAR, FAR = "10.9.0.1", "10.9.0.2"

    def __init__(self, delay, drop=lambda packet: False):
        self.delay, self.drop = delay, drop
        self.near, self.far = Space(), Space()
        self.ends, self.closing = [], threading.Event()
        try:
            for space, mine, theirs in ((self.near, self.NEAR, self.FAR), (self.far, self.FAR, self.NEAR)):
                name = f"vl{os.getpid()}{len(self.ends)}"[:15]
                end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                self.ends.append(end)
                fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
                for command in (
                    ["ip", "link", "set", name, "netns", str(space.holder.pid)],
                    space.inside("ip", "addr", "add", mine, "peer", theirs, "dev", name),
                    space.inside("ip", "link", "set", name, "up"),
                ):
                    run = support.command(command)
                    if run.returncode != 0:
                        raise OSError(run.stderr)
        except OSError:
            self.close()
            raise
        self.carrier = threading.Thread(target=self._carry, daemon=True)
        self.carrier.start()

    def _carry(self):
        try:
            # This thread only: the line keeps its length beside other work.
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(20))
        except OSError:
            pass
        waiting, number = [], itertools.count()
        while not self.closing.is_set():
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.2
            ready, _, _ = select.select(self.ends, [], [], min(pause, 0.2))
            now = time.monotonic()
            for end in ready:
                packet = os.read(end, 65536)
                outward = end == self.ends[0]
                if not (outward and self.drop(packet)):
                    heapq.heappush(waiting, (now + self.delay, next(number), self.ends[outward], packet))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, end, packet = heapq.heappop(waiting)
                os.write(end, packet)

    def close(self):
        self.closing.set()
        if hasattr(self, "carrier"):
            self.carrier.join()
        for end in self.ends:
            os.close(end)
        self.near.close()
        self.far.close()
