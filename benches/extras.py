#!/usr/bin/env python3
"""What the access log and metrics cost a request, beside the same program without them.

    benches/extras.py [--program target/release/vestibule] [--rounds 12] [--seconds 2]

HTTP/1.1 in clear, GET of 1 KiB with the fields of a browser, one worker and 32 connections of wrk. A variant and the
program without it work at the same time on one CPU; nginx as backend and the loads have another. So whatever else the
machine does falls on both alike, and what is compared is CPU time a request within one round. The median of these ratios
is printed, with the middle half of them. Method and results are in docs/performance.md.
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import tempfile

from support import ROOT, cpu, free_port, nginx, start

WITHOUT = 'access_log = "off"\n'
# Name, and what the config has more. What the first differs by is the error of the method.
VARIANTS = {
    "without, again": WITHOUT,
    "access log to a file": '[access_log]\noutput = "{folder}/access.log"\nformat = "json"\n',
    "metrics": WITHOUT + '[metrics]\nlisten = "127.0.0.1:{port}"\n',
}


def config(folder, name, extra, port, backend):
    place = folder / f"{name.replace(' ', '-').replace(',', '')}.toml"
    place.write_text(
        extra.format(folder=folder, port=free_port())
        + f'[server]\nworkers = 1\n[admin]\nsocket = "off"\n[listeners]\nhttp = "127.0.0.1:{port}"\nhttps = "off"\n'
        + f'[sites."*"]\ntls = "off"\nproxy = "127.0.0.1:{backend}"\n'
    )
    return place


# What a browser sends.
FIELDS = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br",
    "Referer: http://localhost/index.html",
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
)


def measure(under_test, seconds):
    """CPU seconds a request of each variant, all under load at once."""
    began = {name: cpu(process) for name, (process, _) in under_test.items()}
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}"]
    for field in FIELDS:
        command += ["-H", field]
    pipe = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    loads = {
        name: subprocess.Popen([*command, f"http://127.0.0.1:{port}/"], **pipe)
        for name, (_, port) in under_test.items()
    }
    said = {name: load.communicate()[0] for name, load in loads.items()}
    for text in said.values():
        if "Non-2xx" in text or "Socket errors" in text or " requests in" not in text:
            raise SystemExit(text)
    requests = {name: int(re.search(r"(\d+) requests in", text)[1]) for name, text in said.items()}
    return {name: (cpu(process) - began[name]) / requests[name] for name, (process, _) in under_test.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=ROOT / "target/release/vestibule", type=pathlib.Path)
    parser.add_argument("--rounds", default=12, type=int)
    parser.add_argument("--seconds", default=2, type=int)
    options = parser.parse_args()
    running = []
    with tempfile.TemporaryDirectory(prefix="vestibule-bench-") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        backend = free_port()
        server = f"server {{ listen 127.0.0.1:{backend}; location / {{ return 200 '{'x' * 1024}'; }} }}"
        running.append(start(["taskset", "-c", "1", *nginx(folder, "backend", server)], backend))

        def variant(name, extra):
            port = free_port()
            place = config(folder, name, extra, port, backend)
            running.append(start(["taskset", "-c", "0", options.program, "run", "--config", place], port))
            return running[-1], port

        try:
            without = variant("without", WITHOUT)
            under_test = {name: variant(name, extra) for name, extra in VARIANTS.items()}
            rounds = {name: [] for name in VARIANTS}
            for turn in range(options.rounds + 1):
                for name, process in under_test.items():
                    times = measure({"without": without, "with": process}, options.seconds)
                    # The first one fills the pools.
                    if turn:
                        rounds[name].append(times)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
    print(f"{'':24} CPU a request: without, with    more, median (middle half)")
    for name, times in rounds.items():
        ratios = [(pair["with"] / pair["without"] - 1) * 100 for pair in times]
        low, middle, high = statistics.quantiles(ratios, n=4)
        before, after = (statistics.median(pair[which] for pair in times) * 1e6 for which in ("without", "with"))
        print(f"{name:24} {before:18.2f} us {after:6.2f} us    {middle:+6.1f} %  ({low:+.1f} to {high:+.1f})")


if __name__ == "__main__":
    main()
