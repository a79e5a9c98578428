"""Real applications with their real clients: git push, S3, a container registry, WebDAV and a package index, through
HTTP/1.1 in clear, HTTP/1.1 over TLS and HTTP/2."""

import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import sys
import tarfile
import tempfile
import unittest
import zipfile

import boto3
import support
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

APPS = support.ROOT / "tests/real/apps"
# Clients look names up by themselves: this one is in every hosts file.
HOST = "localhost"
WAYS = ("http", "https", "h2")
LIMIT = 300


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
            log = "\n".join(self.proxy.stdout[-4:] + self.proxy.stderr[-12:])
            self.fail(f"{' '.join(map(str, command))}: exit {run.returncode}\n{run.stdout}{run.stderr}\n{log}")
        return run.stdout + run.stderr

    def log_lines(self):
        return list(map(json.loads, list(self.proxy.stdout)))

    def assert_protocol(self, way, word):
        """Every request whose target has `word` came over the protocol that the test is about; their log lines."""
        expected = "HTTP/2.0" if way == "h2" else "HTTP/1.1"

        def named():
            return [line for line in self.log_lines() if re.search(rf"\b{word}\b", line["target"])]

        lines = support.wait_until(named, f"requests for {word} are logged")
        self.assertEqual({(line["protocol"], "tls" in line) for line in lines}, {(expected, way != "http")})
        return lines


class Git(Application):
    """`git http-backend`, the CGI program of git's smart HTTP, behind nginx."""

    SIZE = 50 << 20
    # git unpacks 50 MB before it answers: on a machine with other work that may take more than the default minute.
    keys = 'timeouts = { response_header = "5m", response_body_idle = "5m", request_body_idle = "5m" }'

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
            fastcgi_read_timeout 300;
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
        version = "HTTP/2" if way == "h2" else "HTTP/1.1"
        options = ["-c", f"http.sslCAInfo={self.ca}", "-c", f"http.version={version}", "-c", "core.compression=0"]
        url = f"{self.origin(way)}/{way}.git"
        self.git("-C", "source", *options, "push", "--quiet", url, "main")
        self.git(*options, "clone", "--quiet", url, f"clone-{way}")
        whole = [(self.work / folder / "large.bin").read_bytes() for folder in ("source", f"clone-{way}")]
        self.assertTrue(whole[0] == whole[1], "the file is another one")
        lines = self.assert_protocol(way, f"{way}.git")
        sent = [line["status"] for line in lines if line["target"].endswith("/git-receive-pack")]
        self.assertEqual(set(sent), {200}, sent)


class S3(Application):
    """An S3 server that checks every signature: a path that is changed on its way is refused there."""

    ODD_KEYS = (
        "with space+plus", "dir//double//", "/leading", "//two", "dot/./x/../y", "..", "a/%2e%2e/b", "per%cent%2F",
        "a;b!*'()=&?#~$@:,", "x\\y|z^`{}", " ", "\u00fcn\u00ef/\u65e5\u672c",
    )  # fmt: skip
    KEY, SECRET, REGION = "AKIDEXAMPLE", "a secret of the test", "eu-west-1"
    PARTS = 12 << 20

    @classmethod
    def start(cls):
        port = support.free_port()
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "8"]
        command += ["--forwarded-allow-ips", "127.0.0.1", "s3_server:application"]
        cls.run_server(command, ("127.0.0.1", port), cwd=APPS, env={"PYTHONDONTWRITEBYTECODE": "1"})
        return f"127.0.0.1:{port}"

    def client(self, way):
        session = boto3.session.Session(self.KEY, self.SECRET, region_name=self.REGION)
        config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1})
        return session.client("s3", endpoint_url=self.origin(way), verify=self.ca, config=config)

    @every_way("http", "https")
    def test_boto3_with_odd_keys(self, way):
        client, bucket = self.client(way), f"odd-{way}"
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": self.REGION})
        for key in self.ODD_KEYS:
            client.put_object(Bucket=bucket, Key=key, Body=key.encode())
            self.assertEqual(client.get_object(Bucket=bucket, Key=key)["Body"].read(), key.encode())
        listed = client.list_objects_v2(Bucket=bucket)["Contents"]
        self.assertEqual({item["Key"] for item in listed}, set(self.ODD_KEYS))
        for key in self.ODD_KEYS:
            client.delete_object(Bucket=bucket, Key=key)
        self.assertEqual(client.list_objects_v2(Bucket=bucket)["KeyCount"], 0)
        self.assert_protocol(way, bucket)

    @every_way("http", "https")
    def test_boto3_in_several_parts_and_ranges(self, way):
        client, bucket, data = self.client(way), f"parts-{way}", os.urandom(self.PARTS)
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": self.REGION})
        config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
        client.upload_fileobj(io.BytesIO(data), bucket, "a part/of+it", Config=config)
        self.assertRegex(client.head_object(Bucket=bucket, Key="a part/of+it")["ETag"], '-3"$')
        back = io.BytesIO()
        client.download_fileobj(bucket, "a part/of+it", back, Config=config)
        self.assertTrue(back.getvalue() == data, "the object is another one")

    def test_a_wrong_signature_is_seen(self):
        """What the others rely on: the server refuses a request whose signature is not of its target."""
        client = self.client("http")
        client.meta.events.register("before-send.s3.*", self.spoil)
        with self.assertRaisesRegex(ClientError, "SignatureDoesNotMatch"):
            client.create_bucket(Bucket="never", CreateBucketConfiguration={"LocationConstraint": self.REGION})

    @staticmethod
    def spoil(request, **_):
        request.url = request.url.replace("never", "never/./")

    @every_way()
    def test_rclone_with_odd_keys_and_in_several_parts(self, way):
        source = self.work / f"source-{way}"
        source.mkdir()
        for name in ("with space+plus", "per%cent%2F", "a;b!*'()=&#~$@,", "\u00fcn\u00ef"):
            (source / name).write_text(name)
        (source / "large.bin").write_bytes(os.urandom(self.PARTS))
        env = {
            "RCLONE_S3_PROVIDER": "Other", "RCLONE_S3_ENDPOINT": self.origin(way), "RCLONE_S3_REGION": self.REGION,
            "RCLONE_S3_ACCESS_KEY_ID": self.KEY, "RCLONE_S3_SECRET_ACCESS_KEY": self.SECRET,
        }  # fmt: skip
        common = rclone_options(self.ca, way) + ["--s3-chunk-size", "5M", "--s3-upload-cutoff", "5M", "--s3-no-head"]
        self.run_client(["rclone", "copy", *common, source, f":s3:rclone-{way}/below"], env=env)
        back = self.work / f"back-{way}"
        self.run_client(["rclone", "copy", *common, f":s3:rclone-{way}/below", back], env=env)
        self.assertTrue(contents(source) == contents(back), "the objects are others")
        self.assert_protocol(way, f"rclone-{way}")


class WebDav(Application):
    """WsgiDAV, which wants a MOVE's Destination to name the scheme and host it was asked by."""

    @classmethod
    def start(cls):
        port, root = support.free_port(), cls.work / "served"
        root.mkdir()
        command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", "--trusted-proxy=127.0.0.1"]
        command += ["--trusted-proxy-headers=x-forwarded-for x-forwarded-proto x-forwarded-host"]
        command += ["--clear-untrusted-proxy-headers", "dav_server:application"]
        env = {"DAV_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
        cls.run_server(command, ("127.0.0.1", port), cwd=APPS, env=env)
        return f"127.0.0.1:{port}"

    @every_way()
    def test_rclone_writes_moves_and_reads(self, way):
        source, back = self.work / f"source-{way}", self.work / f"back-{way}"
        source.mkdir()
        (source / "a b+c%d.txt").write_text("moved")
        (source / "large.bin").write_bytes(os.urandom(5 << 20))
        hidden = self.run_client(["rclone", "obscure", "secret"]).strip()
        env = {"RCLONE_WEBDAV_URL": self.origin(way), "RCLONE_WEBDAV_USER": "joe", "RCLONE_WEBDAV_PASS": hidden}
        common = rclone_options(self.ca, way)
        self.run_client(["rclone", "copy", *common, source, f":webdav:below-{way}/first"], env=env)
        self.run_client(["rclone", "moveto", *common, f":webdav:below-{way}/first", f":webdav:below-{way}/second \u00fc"], env=env)
        self.run_client(["rclone", "copy", *common, f":webdav:below-{way}/second \u00fc", back], env=env)
        self.assertTrue(contents(source) == contents(back), "the files are others")
        moves = [line["status"] for line in self.assert_protocol(way, f"below-{way}") if line["method"] == "MOVE"]
        self.assertTrue(moves and set(moves) <= {201, 204}, moves)

    def test_cadaver_moves_a_collection(self):
        (self.work / ".netrc").write_text("machine localhost login joe password secret\n")
        (self.work / "local.txt").write_text("kept")
        script = self.work / "script"
        script.write_text("mkcol one\nput local.txt one/a.txt\nmove one two\nget two/a.txt back.txt\nquit\n")
        said = self.run_client(["cadaver", "--rcfile", script, self.origin("http") + "/"])
        self.assertEqual((self.work / "back.txt").read_text(), "kept", said)


class Registry(Application):
    """docker-registry: the Location of an upload is made of Host and X-Forwarded-Proto."""

    LAYER = 20 << 20
    keys = 'limits = { body = "off" }'

    @classmethod
    def start(cls):
        port = support.free_port()
        config = cls.work / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {cls.work}/registry}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}', secret: of-this-run}}\n"
        )
        cls.make_image(cls.work / "image")
        cls.run_server(["docker-registry", "serve", config], ("127.0.0.1", port), env={"OTEL_TRACES_EXPORTER": "none"})
        return f"127.0.0.1:{port}"

    @classmethod
    def make_image(cls, folder):
        """An image in the OCI layout: one layer of random octets, its config, its manifest, the index."""
        blobs = folder / "blobs/sha256"
        blobs.mkdir(parents=True)

        def blob(data, kind):
            digest = hashlib.sha256(data).hexdigest()
            (blobs / digest).write_bytes(data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            entry = tarfile.TarInfo("large.bin")
            entry.size = cls.LAYER
            tar.addfile(entry, io.BytesIO(os.urandom(cls.LAYER)))
        layer = blob(gzip.compress(content.getvalue(), 1), "layer.v1.tar+gzip")
        whole = hashlib.sha256(content.getvalue()).hexdigest()
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{whole}"]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
        config = blob(config, "config.v1+json")
        manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
        manifest = blob(manifest, "manifest.v1+json") | {"annotations": {"org.opencontainers.image.ref.name": "v1"}}
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        cls.layer = layer["digest"]

    @every_way("http", "https")
    def test_skopeo_pushes_and_pulls(self, way):
        trust = self.work / "trust"
        trust.mkdir(exist_ok=True)
        support.shutil.copy(self.ca, trust / "ca.crt")

        def options(side):
            return [f"--{side}-tls-verify=false"] if way == "http" else [f"--{side}-cert-dir={trust}"]

        name = f"docker://{self.origin(way).partition('//')[2]}/team/{way}:v1"
        skopeo = ["skopeo", "--insecure-policy", "copy", "--quiet"]
        self.run_client([*skopeo, *options("dest"), f"oci:{self.work}/image:v1", name])
        self.run_client([*skopeo, *options("src"), name, f"oci:{self.work}/pulled-{way}:v1"])
        blobs = f"blobs/sha256/{self.layer.partition(':')[2]}"
        whole = [(self.work / folder / blobs).read_bytes() for folder in ("image", f"pulled-{way}")]
        self.assertTrue(whole[0] == whole[1], "the layer is another one")
        self.assert_protocol(way, f"team/{way}")

    def test_an_upload_in_pieces_over_http_2(self):
        """skopeo speaks HTTP/1.1 only: curl has the registry's dialogue over HTTP/2."""
        origin, data = self.origin("h2"), os.urandom(3 << 20)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        (self.work / "piece").write_bytes(data)

        def curl(*arguments):
            line = ["curl", "--silent", "--show-error", "--fail", "--http2", "--cacert", self.ca, "--include", *arguments]
            said = self.run_client(line)
            location = re.search(r"(?mi)^location: (\S+)", said)
            return location and location[1]

        place = curl("--request", "POST", f"{origin}/v2/team/h2/blobs/uploads/")
        self.assertTrue(place.startswith(f"{origin}/v2/team/h2/"), place)
        kind = "Content-Type: application/octet-stream"
        place = curl("--request", "PATCH", "--header", kind, "--upload-file", self.work / "piece", place)
        place = curl("--request", "PUT", f"{place}&digest={digest}")
        self.assertEqual(place, f"{origin}/v2/team/h2/blobs/{digest}")
        self.run_client(["curl", "--silent", "--fail", "--cacert", self.ca, "--output", self.work / "got", place])
        self.assertTrue((self.work / "got").read_bytes() == data, "the blob is another one")
        self.assert_protocol("h2", "team/h2")


class PackageIndex(Application):
    """pypiserver, with pip and with an upload of a form, as twine sends it."""

    @classmethod
    def start(cls):
        port, packages = support.free_port(), cls.work / "packages"
        packages.mkdir()
        command = [sys.executable, "-m", "pypiserver", "run", "--port", port, "--interface", "127.0.0.1"]
        cls.run_server([*command, "-P", ".", "-a", ".", "--disable-fallback", packages], ("127.0.0.1", port))
        return f"127.0.0.1:{port}"

    @staticmethod
    def make_wheel(path, name):
        """The smallest wheel: a module and what must be said about it."""
        info = f"{name}-1.0.dist-info"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{name}.py", "answer = 42\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    @every_way()
    def test_a_package_is_uploaded_and_installed(self, way):
        name, origin = f"greeting_{way}", self.origin(way)
        wheel = self.work / f"{name}-1.0-py3-none-any.whl"
        self.make_wheel(wheel, name)
        form = ["--form", ":action=file_upload", "--form", f"content=@{wheel}"]
        version = "--http2" if way == "h2" else "--http1.1"
        self.run_client(["curl", "--silent", "--show-error", "--fail", version, "--cacert", self.ca, *form, f"{origin}/?{way}"])
        self.assert_protocol(way, way)
        target = self.work / f"installed-{way}"
        pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet"]
        pip += ["--no-cache-dir", "--target", target, "--cert", self.ca]
        self.run_client([*pip, "--index-url", f"{origin}/simple/", name.replace("_", "-")])
        self.assertEqual((target / f"{name}.py").read_text(), "answer = 42\n")


def rclone_options(ca, way):
    options = ["--ca-cert", ca, "--retries", "1", "--low-level-retries", "1", "--config", "/dev/null"]
    return options + ([] if way == "h2" else ["--disable-http2"])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


if __name__ == "__main__":
    support.main()
