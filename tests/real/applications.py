"""Real applications with their real clients: git push, S3, a container registry, WebDAV and a package index, through
HTTP/1.1 in clear, HTTP/1.1 over TLS and HTTP/2."""

import hashlib
import json
import os
import pathlib
import signal
import sys
import tempfile
import unittest

import support

TOOLS = pathlib.Path(sys.executable).parent
APPS = support.ROOT / "tests/real/apps"
# Clients look names up by themselves: this one is in every hosts file.
HOST = "localhost"
WAYS = ("http", "https", "h2")
LIMIT = 100


def every_way(*ways):
    """Run a test for each kind of client connection, a sub-test each."""

    def decorate(test):
        def run(self):
            for way in ways or WAYS:
                with self.subTest(way=way):
                    test(self, way)

        return run

    return decorate


class Application(unittest.TestCase):
    """One application behind a proxy of its own. `start` gives the server's process and its port."""

    # Keys of the site.
    keys = ""
    processes = ()

    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="vestibule-applications-"))
        cls.addClassCleanup(support.shutil.rmtree, cls.work, ignore_errors=True)
        target = cls.start()
        sites = support.site(target, host=HOST, extra=cls.keys)
        cls.proxy = support.Proxy(sites, '[access_log]\nformat = "json"\n')
        cls.addClassCleanup(cls.proxy.close)
        cls.ca = cls.proxy.ca()

    @classmethod
    def run_server(cls, command, address, env=None, cwd=None):
        """A server of the application, ended with the class."""
        process = support.Process(command, env=env, cwd=cwd or cls.work)
        cls.addClassCleanup(process.stop)
        support.wait_for_address(address, process)
        return process

    @classmethod
    def environment(cls, more=None):
        return {"PATH": os.environ["PATH"], "HOME": str(cls.work), "LANG": "C.UTF-8", **(more or {})}

    def origin(self, way):
        return f"http://{HOST}:{self.proxy.http}" if way == "http" else f"https://{HOST}:{self.proxy.https}"

    def run_client(self, command, env=None, cwd=None, expected=0):
        """A client to its end, with nothing of the machine's own settings; its own message is the failure."""
        run = support.command(command, timeout=LIMIT, env=self.environment(env), cwd=cwd or self.work)
        if run.returncode != expected:
            log = "\n".join(self.proxy.stdout[-12:] + self.proxy.stderr[-12:])
            self.fail(f"{' '.join(map(str, command))}: exit {run.returncode}\n{run.stdout}{run.stderr}\n{log}")
        return run.stdout + run.stderr

    def log_lines(self):
        return list(map(json.loads, list(self.proxy.stdout)))

    def assert_protocol(self, way, mark):
        """The access log says that requests after `mark` lines came over the protocol that the test is about."""
        expected = "HTTP/2.0" if way == "h2" else "HTTP/1.1"
        lines = support.wait_until(lambda: self.log_lines()[mark:], "requests are logged")
        self.assertEqual({(line["protocol"], "tls" in line) for line in lines}, {(expected, way != "http")})


class Git(Application):
    """`git http-backend`, the CGI program of git's smart HTTP, behind nginx."""

    SIZE = 50 << 20

    @classmethod
    def start(cls):
        run = cls.git
        for way in WAYS:
            run("init", "--bare", "--quiet", "-b", "main", f"served/{way}.git")
            run("-C", f"served/{way}.git", "config", "http.receivepack", "true")
        run("init", "--quiet", "-b", "main", "source")
        (cls.work / "source/large.bin").write_bytes(os.urandom(cls.SIZE))
        run("-C", "source", "add", "large.bin")
        run("-C", "source", "-c", "user.name=t", "-c", "user.email=t@app.localhost", "commit", "--quiet", "-m", "large")
        port, wrap = support.free_port(), cls.work / "fcgiwrap.sock"
        cls.run_server(["fcgiwrap", "-s", f"unix:{wrap}"], str(wrap))
        backend = pathlib.Path(run("--exec-path").strip()) / "git-http-backend"
        config = cls.work / "nginx.conf"
        config.write_text(
            f"""
daemon off;
master_process off;
pid {cls.work}/nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    client_body_temp_path {cls.work}/body;
    fastcgi_temp_path {cls.work}/fastcgi;
    proxy_temp_path {cls.work}/proxy;
    uwsgi_temp_path {cls.work}/uwsgi;
    scgi_temp_path {cls.work}/scgi;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            fastcgi_pass unix:{wrap};
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {cls.work}/served;
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $args;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
            fastcgi_param GIT_PROTOCOL $http_git_protocol;
        }}
    }}
}}
"""
        )
        cls.run_server(["nginx", "-c", config, "-e", "stderr"], ("127.0.0.1", port))
        return f"127.0.0.1:{port}"

    @classmethod
    def git(cls, *arguments):
        run = support.command(["git", *arguments], timeout=LIMIT, cwd=cls.work, env=cls.environment())
        if run.returncode != 0:
            raise AssertionError(f"git {arguments}: {run.stderr}")
        return run.stdout

    @every_way()
    def test_a_push_of_fifty_megabytes_arrives_and_clones(self, way):
        mark = len(self.log_lines())
        version = "HTTP/2" if way == "h2" else "HTTP/1.1"
        options = ["-c", f"http.sslCAInfo={self.ca}", "-c", f"http.version={version}", "-c", "core.compression=0"]
        url = f"{self.origin(way)}/{way}.git"
        self.git("-C", "source", *options, "push", "--quiet", url, "main")
        self.git(*options, "clone", "--quiet", url, f"clone-{way}")
        whole = [(self.work / folder / "large.bin").read_bytes() for folder in ("source", f"clone-{way}")]
        self.assertTrue(whole[0] == whole[1], "the file is another one")
        self.assert_protocol(way, mark)
        sent = [line for line in self.log_lines()[mark:] if line["target"].endswith("/git-receive-pack")]
        self.assertTrue(sent and all(line["status"] == 200 for line in sent), sent)


if __name__ == "__main__":
    support.main()
