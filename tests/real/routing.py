"""Routing against an independent model: generated sites, routes and requests, each answered by the route's own number.

The model looks at every route of the best host, and knows nothing of tables or trees.
"""

import ipaddress
import itertools
import json
import random
import re
import unittest
import urllib.parse

import support
from fronts import Front, request
from rawhttp import Client

SEED = 20261125
SEGMENTS = ["a", "b", "ab", "a-b", "a!", "v1", "%2F", "c", "d.e"]
METHODS = ["GET", "POST", "PUT", "DELETE"]
NETWORKS = ["127.0.0.0/31", "127.0.0.2/32", "127.0.0.0/8", "10.0.0.0/8"]
REGEXES = ["/v[0-9]+/.*", "/(a|b)/[^/]*", "/.*-b", "/[a-d]+", "/c/.*/d", "/.*"]
UNRESERVED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normal(path):
    """The normal form of a path, by the steps of RFC 3986 section 6.2.2 and 5.2.4."""

    def decode(match):
        char = chr(int(match[1], 16))
        return char if char in UNRESERVED else match[0].upper()

    path = re.sub("//+", "/", re.sub("%([0-9A-Fa-f]{2})", decode, path))
    # Removing dot segments by the letter of RFC 3986: from an input buffer to an output buffer.
    out = []
    while path:
        if path.startswith("/./"):
            path = path[2:]
        elif path == "/.":
            path = "/"
        elif path.startswith("/../") or path == "/..":
            path = path[3:] or "/"
            out = out[:-1]
        else:
            end = path.find("/", 1)
            end = len(path) if end < 0 else end
            out.append(path[:end])
            path = path[end:]
        while path.startswith("//"):
            path = path[1:]
    return "".join(out) or "/"


class Route:
    def __init__(self, number, kind, path, conditions):
        self.number, self.kind, self.path, self.conditions = number, kind, path, conditions

    def toml(self, host):
        lines = [f'[[sites."{host}".routes]]']
        if self.kind == "regex":
            lines.append(f"path_regex = {json.dumps(self.path)}")
        elif self.kind != "any":
            lines.append(f"path = {json.dumps(self.path + ('/*' if self.kind == 'prefix' else ''))}")
        lines += [f"{key} = {inline(value)}" for key, value in self.conditions.items()]
        return "\n".join([*lines, f'respond = {{ body = "route {self.number}" }}', ""])

    def count(self):
        return sum(len(value) if isinstance(value, dict) else 1 for value in self.conditions.values())

    def has_path(self, path):
        if self.kind == "exact":
            return path == self.path
        if self.kind == "prefix":
            return (path + "/").startswith(self.path + "/")
        return self.kind == "any" or bool(re.fullmatch(self.path, path))

    def rank(self, first_of):
        """The smaller, the sooner: kind, length or place of the path, then the number of conditions."""
        kind = ["exact", "prefix", "regex", "any"].index(self.kind)
        place = {"prefix": -len(self.path), "regex": first_of.get(self.path, 0)}.get(self.kind, 0)
        return kind, place, -self.count(), self.number

    def meets(self, ask):
        wanted = self.conditions
        if "methods" in wanted and ask["method"] not in wanted["methods"]:
            return False
        if "client_ip" in wanted:
            address = ipaddress.ip_address(ask["source"])
            if not any(address in ipaddress.ip_network(net) for net in wanted["client_ip"]):
                return False
        query = urllib.parse.parse_qsl(ask["query"], keep_blank_values=True)
        fields = [(name.lower(), value) for name, value in ask["fields"]]
        for key, pairs in (("headers", fields), ("query", query)):
            for name, value in wanted.get(key, {}).items():
                name = name.lower() if key == "headers" else name
                found = [given for other, given in pairs if other == name]
                if not found or (value != "*" and set(found) != {value}):
                    return False
        return True


def inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {json.dumps(text)}" for name, text in value.items()) + " }"
    return json.dumps(value)


def excludes(one, other):
    """Whether no request can meet both."""
    if "methods" in one and "methods" in other and not set(one["methods"]) & set(other["methods"]):
        return True
    for key in ("headers", "query"):
        for name, value in one.get(key, {}).items():
            wanted = other.get(key, {}).get(name)
            if wanted is not None and "*" not in (value, wanted) and value != wanted:
                return True
    if "client_ip" in one and "client_ip" in other:
        nets = [[ipaddress.ip_network(net) for net in side["client_ip"]] for side in (one, other)]
        return not any(a.overlaps(b) for a, b in itertools.product(*nets))
    return False


class Model:
    """Sites of generated routes without a tie."""

    def __init__(self, rng):
        self.rng, self.sites = rng, {}
        numbers = itertools.count()
        for host in ("a.test", "b.a.test", "*.a.test", "*.b.a.test", "*.test", "*"):
            routes = []
            while len(routes) < 30:
                route = self.route(next(numbers))
                same = [other for other in routes if (other.kind, other.path) == (route.kind, route.path)]
                count = route.count()
                if all(other.count() != count or excludes(other.conditions, route.conditions) for other in same):
                    routes.append(route)
            self.sites[host] = routes

    def path(self, most=4):
        return "/" + "/".join(self.rng.choices(SEGMENTS, k=self.rng.randint(1, most)))

    def route(self, number):
        rng, conditions = self.rng, {}
        if rng.random() < 0.4:
            conditions["methods"] = sorted(rng.sample(METHODS, rng.randint(1, 2)))
        if rng.random() < 0.3:
            conditions["headers"] = {rng.choice(["X-A", "X-B"]): rng.choice(["1", "2", "*"])}
        if rng.random() < 0.3:
            conditions["query"] = {rng.choice(["q", "a b"]): rng.choice(["1", "x y", "*"])}
        if rng.random() < 0.25:
            conditions["client_ip"] = [rng.choice(NETWORKS)]
        kind = rng.choices(["exact", "prefix", "regex", "any"], [4, 8, 3, 1])[0]
        if kind == "any" and not conditions:
            kind = "prefix"
        path = {"regex": rng.choice(REGEXES), "any": ""}.get(kind) if kind in ("regex", "any") else self.path(3)
        return Route(number, kind, path, conditions)

    def config(self):
        return "".join(
            f'[sites."{host}"]\nhttp = "serve"\ntls = "off"\n' + "".join(route.toml(host) for route in routes)
            for host, routes in self.sites.items()
        )

    def site(self, host):
        host = host.lower().rstrip(".")
        if host in self.sites:
            return self.sites[host]
        fits = [name for name in self.sites if name.startswith("*.") and host.endswith(name[1:])]
        return self.sites[max(fits, key=len, default="*")]

    def best(self, routes, path, ask):
        first_of = {}
        for route in routes:
            first_of.setdefault(route.path, route.number)
        fits = [route for route in routes if route.has_path(path) and route.meets(ask)]
        return min(fits, key=lambda route: route.rank(first_of), default=None)

    def answer(self, ask):
        """The status, and the number of the route that answers."""
        routes = self.site(ask["host"])
        raw, tidy = (self.best(routes, path, ask) for path in (ask["path"], normal(ask["path"])))
        if raw is not tidy:
            return 400, None
        return (200, tidy.number) if tidy else (404, None)

    def ask(self):
        rng = self.rng
        host = rng.choice(["a.test", "A.Test.", "b.a.test", "x.a.test", "x.b.a.test", "y.x.b.a.test", "z.test", "other"])
        # Half of the requests aim at a path that is there.
        known = [route.path for route in self.site(host) if route.kind in ("exact", "prefix")]
        path = rng.choice(known) + rng.choice(["", "", "/", self.path(2)]) if rng.random() < 0.6 else self.path()
        if rng.random() < 0.25:
            path = rng.choice([
                path.replace("/", "//", 1), path + "/../" + rng.choice(SEGMENTS), "/x/.." + path, path.replace("a", "%61"),
                path + "/.", path.replace("/", "/./", 1), path.replace("%2F", "%2f"),
            ])  # fmt: skip
        query = rng.choice(["", "", "q=1", "q=1&q=1", "q=1&q=2", "a+b=x%20y", "a%20b=1&q", "xq=1", "q=x+y&a+b=x+y"])
        names = rng.sample(["X-A", "x-b"], rng.randint(0, 2))
        fields = [(name, rng.choice(["1", "2", "3"])) for name in names]
        source = rng.choice(["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        return {"host": host, "path": path, "query": query, "fields": fields, "method": rng.choice(METHODS), "source": source}


class Routing(unittest.TestCase):
    def compare(self, seed, count):
        model = Model(random.Random(seed))
        with support.Proxy(model.config(), 'access_log = "off"') as proxy:
            seen = {}
            for number in range(count):
                ask = model.ask()
                status, route = model.answer(ask)
                target = ask["path"] + (f"?{ask['query']}" if ask["query"] else "")
                with self.subTest(number=number, **ask), Client(proxy.http, source=ask["source"]) as client:
                    client.send(request(ask["method"], target, ask["host"], ask["fields"]))
                    answer = client.answer(ask["method"])
                    self.assertEqual(answer.status, status, answer)
                    if route is not None:
                        self.assertEqual(answer.body.decode(), f"route {route}")
                    seen[status] = seen.get(status, 0) + 1
        # A table that asked for nothing would agree with any model.
        self.assertGreater(seen.get(200, 0), count / 3, seen)
        self.assertGreater(min(seen.get(400, 0), seen.get(404, 0)), 0, seen)

    def test_three_hundred_requests_meet_the_models_route(self):
        self.compare(SEED, 300)


class Large(unittest.TestCase):
    """10,000 hosts, and 1,000 routes on one of them."""

    @classmethod
    def setUpClass(cls):
        sites = "".join(f'[sites."h{n}.example.test"]\nrespond = {{ body = "host {n}" }}\n' for n in range(10_000))
        sites += '[sites."many.test"]\nrespond = { body = "none" }\n' + "".join(
            f'[[sites."many.test".routes]]\npath = "/app{n}/*"\nrespond = {{ body = "route {n}" }}\n' for n in range(1000)
        )
        cls.proxy = support.Proxy(sites, '[defaults]\nhttp = "serve"\n')
        cls.addClassCleanup(cls.proxy.close)

    def test_each_host_and_route_is_found(self):
        with Client(self.proxy.http) as client:
            for number in (0, 1, 4999, 9999):
                client.send(request("GET", "/", f"h{number}.example.test"))
                self.assertEqual(client.answer().body, b"host %d" % number)
            for target, body in (("/app0/x", b"route 0"), ("/app999", b"route 999"), ("/app77/a/b", b"route 77")):
                client.send(request("GET", target, "many.test"))
                self.assertEqual(client.answer().body, body)
            for target in ("/app1000/x", "/app77x", "/ap"):
                client.send(request("GET", target, "many.test"))
                self.assertEqual(client.answer().body, b"none")


class NotFound(unittest.TestCase):
    def test_the_log_of_a_404_names_the_nearest_route_and_the_answer_does_not(self):
        routes = "".join(
            f'[[sites."{support.HOST}".routes]]\npath = "{path}"\nrespond = {{ body = "x" }}\n'
            for path in ("/api/v1/*", "/admin/*", "/ping")
        )
        site = f'[sites."{support.HOST}"]\nhttp = "serve"\n{routes}'
        with support.Proxy(site, '[access_log]\nformat = "json"\n') as proxy:
            answer = Front("http", proxy, None, support.HOST).ask("/api/v2/users")
            self.assertEqual(answer.status, 404)
            self.assertNotIn(b"v1", answer.body)
            [line] = support.wait_until(lambda: list(map(json.loads, list(proxy.stdout))), "the log line")
            self.assertEqual((line["why"], line["nearest_route"]), ("route.no_route", "/api/v1/*"))


if __name__ == "__main__":
    support.main()
