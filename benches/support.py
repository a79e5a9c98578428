"""What the measurements of CPU time share: processes, a backend, and how long a process has computed."""

import pathlib
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, port):
    command = [str(part) for part in command]
    # A session of its own is a group of its own to the scheduler: two that share a CPU take turns, and do not interrupt
    # one another at every wake-up.
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.02)
    raise SystemExit(f"did not start: {command}")


def nginx(folder, name, server):
    """nginx as one process, so that its CPU time is in one place."""
    paths = "".join(
        f"{kind}_temp_path {folder}/{name}-{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / f"{name}.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/{name}.pid; error_log /dev/null;\nevents {{}}\n"
        f"http {{ access_log off; default_type text/plain; keepalive_requests 1000000;\n{paths}{server} }}\n"
    )
    return ["nginx", "-c", config, "-e", "/dev/null"]


def cpu(process):
    """Seconds of CPU time so far, of all threads: to the nanosecond, where the count of ticks has a hundredth."""
    tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
