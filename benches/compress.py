#!/usr/bin/env python3
"""CPU time of `compress` for each MiB of text, beside nginx's gzip. Method and results are in docs/performance.md.

    benches/compress.py [--program target/release/vestibule] [--requests 40] [--rounds 3]

nginx serves one file of 1 MiB made of this repository's own texts, and is the backend of both proxies. A proxy gets the
requests one after the other on one connection; what is counted is its CPU time, user and system, of all its threads.
"""

import argparse
import http.client
import pathlib
import statistics
import tempfile

from support import ROOT, cpu, free_port, nginx, start

SIZE = 1 << 20
ROWS = [
    # Name, coding asked for, nginx's directives, the value of `compress`.
    ("nginx, no compression", "identity", "gzip off;", None),
    ("nginx gzip 1 (its default)", "gzip", "gzip on; gzip_comp_level 1;", None),
    ("nginx gzip 6", "gzip", "gzip on; gzip_comp_level 6;", None),
    ("no compression", "identity", None, "false"),
    ("gzip", "gzip", None, '["gzip"]'),
    ("br", "br", None, '["br"]'),
    ("zstd", "zstd", None, '["zstd"]'),
]


def text():
    """Markdown and source code, as they lie in the repository, in the order of their names."""
    files = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.rs")])
    return b"".join(file.read_bytes() for file in files)[:SIZE]


def measure(process, port, coding, requests):
    """CPU seconds a MiB of text, and the share that is left of its size."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    head = {"Host": "bench.localhost", "Accept-Encoding": coding}

    def ask():
        client.request("GET", "/text.txt", headers=head)
        answer = client.getresponse()
        body = answer.read()
        expected = None if coding == "identity" else coding
        if answer.status != 200 or answer.getheader("Content-Encoding") != expected:
            raise SystemExit(f"{answer.status} {answer.getheader('Content-Encoding')} instead of {coding}")
        return len(body)

    size = ask()
    began = cpu(process)
    for _ in range(requests):
        ask()
    return (cpu(process) - began) / (requests * SIZE / (1 << 20)), size / SIZE


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=ROOT / "target/release/vestibule", type=pathlib.Path)
    parser.add_argument("--requests", default=40, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    options = parser.parse_args()
    running = []
    with tempfile.TemporaryDirectory(prefix="vestibule-bench-") as folder:
        folder = pathlib.Path(folder)
        (folder / "text.txt").write_bytes(text())
        backend = free_port()
        server = f"server {{ listen 127.0.0.1:{backend}; root {folder}; }}"
        running.append(start(nginx(folder, "backend", server), backend))
        try:
            under_test = []
            for number, (name, coding, directives, value) in enumerate(ROWS):
                port = free_port()
                if directives:
                    server = (
                        f"server {{ listen 127.0.0.1:{port}; {directives} gzip_types text/plain; gzip_proxied any;\n"
                        f"location / {{ proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1;"
                        ' proxy_set_header Connection ""; proxy_buffers 16 64k; } }'
                    )
                    command = nginx(folder, f"proxy{number}", server)
                else:
                    config = folder / f"proxy{number}.toml"
                    config.write_text(
                        f'access_log = "off"\n[server]\nworkers = 1\n[admin]\nsocket = "off"\n[listeners]\n'
                        f'http = "127.0.0.1:{port}"\nhttps = "off"\n[sites."bench.localhost"]\ntls = "off"\n'
                        f'proxy = "127.0.0.1:{backend}"\ncompress = {value}\n'
                    )
                    command = [options.program, "run", "--config", config]
                running.append(start(command, port))
                under_test.append((name, running[-1], port, coding))
            results = {name: [] for name, *_ in ROWS}
            for _ in range(options.rounds):
                for name, process, port, coding in under_test:
                    results[name].append(measure(process, port, coding, options.requests))
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
    print(f"{'':28} ms CPU a MiB  (range)          left of the size")
    for name, rows in results.items():
        times = sorted(seconds * 1000 for seconds, _ in rows)
        print(f"{name:28} {statistics.median(times):12.1f}  ({times[0]:.1f} to {times[-1]:.1f})  {rows[0][1]:18.1%}")


if __name__ == "__main__":
    main()
