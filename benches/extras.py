#!/usr/bin/env python3
"""What the access log and metrics cost a request, beside the same program without them.

    benches/extras.py [--program target/release/vestibule] [--rounds 40] [--seconds 1]

HTTP/1.1 in clear, 32 connections of wrk, GET of 1 KiB, one worker on one CPU; nginx as backend and wrk on another. All
variants run at once and are asked in turn, each round in another order; what is compared is CPU time a request within
one round, so that what else the machine does falls on all of them. The median of these ratios is printed, with the
middle half of them. Method and results are in docs/performance.md.
"""

import argparse
import itertools
import os
import pathlib
import random
import re
import statistics
import subprocess
import tempfile

from support import ROOT, cpu, free_port, nginx, start

# Name, and what the config has more. `without` stands twice: what the second differs by is the error of the method.
VARIANTS = {
    "without": 'access_log = "off"\n',
    "without, again": 'access_log = "off"\n',
    "access log to a file": '[access_log]\noutput = "{folder}/access.log"\nformat = "json"\n',
    "metrics": 'access_log = "off"\n[metrics]\nlisten = "127.0.0.1:{port}"\n',
}


def config(folder, name, extra, port, backend):
    place = folder / f"{name.replace(' ', '-').replace(',', '')}.toml"
    place.write_text(
        extra.format(folder=folder, port=free_port())
        + f'[server]\nworkers = 1\n[admin]\nsocket = "off"\n[listeners]\nhttp = "127.0.0.1:{port}"\nhttps = "off"\n'
        + f'[sites."*"]\ntls = "off"\nproxy = "127.0.0.1:{backend}"\n'
    )
    return place


def measure(process, port, seconds):
    """CPU seconds a request."""
    began = cpu(process)
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}", f"http://127.0.0.1:{port}/1k"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(said)
    return (cpu(process) - began) / int(re.search(r"(\d+) requests in", said)[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=ROOT / "target/release/vestibule", type=pathlib.Path)
    parser.add_argument("--rounds", default=40, type=int)
    parser.add_argument("--seconds", default=1, type=int)
    options = parser.parse_args()
    running, under_test = [], {}
    with tempfile.TemporaryDirectory(prefix="vestibule-bench-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        (folder / "1k").write_bytes(os.urandom(512).hex().encode())
        backend = free_port()
        server = f"server {{ listen 127.0.0.1:{backend}; root {folder}; }}"
        running.append(start(["taskset", "-c", "1", *nginx(folder, "backend", server)], backend))
        try:
            for name, extra in VARIANTS.items():
                port = free_port()
                place = config(folder, name, extra, port, backend)
                command = ["taskset", "-c", "0", options.program, "run", "--config", place]
                running.append(start(command, port))
                under_test[name] = (running[-1], port)
            results = {name: [] for name in VARIANTS}
            orders = itertools.cycle([list(VARIANTS), list(reversed(VARIANTS))])
            for _ in range(options.rounds):
                order = next(orders)
                first = random.randrange(len(order))
                for name in order[first:] + order[:first]:
                    results[name].append(measure(*under_test[name], options.seconds))
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
    base = results["without"]
    print(f"{'':24} CPU a request    more than without, median (middle half)")
    for name, times in results.items():
        ratios = sorted((time / other - 1) * 100 for time, other in zip(times, base))
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:24} {statistics.median(times) * 1e6:10.2f} us    {middle:+6.1f} %  ({low:+.1f} to {high:+.1f})")


if __name__ == "__main__":
    main()
