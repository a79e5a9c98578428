"""`[tracing]`: the trace of a caller goes on to the server, and spans reach a collector that reads OTLP."""

import json
import re
import threading
import time
import unittest

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import support
from backends import FunctionServer
from h2raw import H2Client
from rawhttp import Client

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTEXT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-(0[01])")


class Collector(FunctionServer):
    """Takes spans as any OpenTelemetry collector does; answers `status`."""

    def __init__(self, status=200):
        self.spans, self.resources, self.types, self.status = [], [], set(), status
        super().__init__({"/v1/traces": self.take})

    def take(self, handler):
        message = ExportTraceServiceRequest.FromString(b"".join(handler.body_pieces()))
        if self.status == 200:
            self.types.add(handler.headers["Content-Type"])
            for resource in message.resource_spans:
                self.resources.append({pair.key: pair.value.string_value for pair in resource.resource.attributes})
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
        answer = ExportTraceServiceResponse().SerializeToString()
        handler.reply(self.status, answer, ("Content-Type", "application/x-protobuf"))

    def of(self, count):
        """The first `count` spans, once they are there."""
        support.wait_until(lambda: len(self.spans) >= count, f"{count} spans")
        return self.spans


def attributes(span):
    value = lambda any: any.string_value or any.int_value
    return {pair.key: value(pair.value) for pair in span.attributes}


class Case(unittest.TestCase):
    def setUp(self):
        self.heads = []

        def keep(handler):
            self.heads.append(handler.headers)
            handler.reply(200, b"ok")

        self.backend = FunctionServer({"*": keep, "/broken": lambda h: h.reply(500, b"no")})
        self.addCleanup(self.backend.close)
        self.collector = Collector()
        self.addCleanup(self.collector.close)

    def start(self, sample="100%", collector=None, sites=None):
        top = f'[tracing]\notlp = "http://127.0.0.1:{(collector or self.collector).port}"\nsample = "{sample}"\n'
        proxy = support.Proxy(sites or support.site(self.backend.target), top=top)
        self.addCleanup(proxy.close)
        return proxy

    def get(self, proxy, path="/", fields=(), host=support.HOST):
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        with Client(proxy.http) as client:
            client.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode())
            return client.answer()


class Context(Case):
    def test_a_callers_trace_goes_on_and_its_state_stays(self):
        proxy = self.start(sample="0%")
        self.get(proxy, fields=[("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "a=1"), ("tracestate", "b=2")])
        head = self.heads[0]
        trace, span, flags = CONTEXT.fullmatch(head["traceparent"]).groups()
        self.assertEqual((trace, flags), (TRACE, "01"))
        self.assertNotEqual(span, PARENT)
        self.assertEqual(head.get_all("tracestate"), ["a=1", "b=2"])

    def test_what_is_not_valid_is_dropped_with_its_state(self):
        proxy = self.start(sample="0%")
        bad = [f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE.upper()}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", "nonsense", f"00-{TRACE}-{PARENT}"]
        for value in bad:
            with self.subTest(value):
                self.heads.clear()
                self.get(proxy, fields=[("traceparent", value), ("tracestate", "a=1")])
                trace, _, flags = CONTEXT.fullmatch(self.heads[0]["traceparent"]).groups()
                self.assertNotEqual(trace, TRACE)
                self.assertEqual((flags, self.heads[0]["tracestate"]), ("00", None))

    def test_two_contexts_contradict_each_other(self):
        proxy = self.start(sample="0%")
        self.get(proxy, fields=[("traceparent", f"00-{TRACE}-{PARENT}-01")] * 2)
        self.assertNotIn(TRACE, self.heads[0].get_all("traceparent")[0])
        self.assertEqual(len(self.heads[0].get_all("traceparent")), 1)

    def test_without_tracing_the_fields_pass_as_they_are(self):
        proxy = support.Proxy(support.site(self.backend.target))
        self.addCleanup(proxy.close)
        for value in (f"00-{TRACE}-{PARENT}-01", "nonsense"):
            self.heads.clear()
            self.get(proxy, fields=[("traceparent", value), ("tracestate", "a=1")])
            self.assertEqual((self.heads[0]["traceparent"], self.heads[0]["tracestate"]), (value, "a=1"))

    def test_http2_requests_take_part(self):
        proxy = self.start(sample="0%")
        with H2Client(proxy.https, proxy.ca(), support.HOST) as client:
            fields = [(":method", "GET"), (":scheme", "https"), (":authority", support.HOST), (":path", "/")]
            client.headers(1, fields + [("traceparent", f"00-{TRACE}-{PARENT}-01")])
            self.assertEqual(client.answer(1).status, 200)
        self.assertTrue(self.heads[0]["traceparent"].startswith(f"00-{TRACE}-"))
        spans = self.collector.of(2)
        self.assertEqual(attributes(spans[0])["network.protocol.version"], "2")
        self.assertEqual(attributes(spans[0])["tls.protocol.version"], "1.3")


class Spans(Case):
    def test_spans_reach_the_collector_below_the_callers(self):
        proxy = self.start(sample="0%")
        began = time.time_ns()
        self.get(proxy, "/x?token=s3cret", fields=[("traceparent", f"00-{TRACE}-{PARENT}-01"), ("User-Agent", "probe")])
        request, exchange = self.collector.of(2)
        self.assertEqual({span.trace_id.hex() for span in (request, exchange)}, {TRACE})
        self.assertEqual(request.parent_span_id.hex(), PARENT)
        self.assertEqual(exchange.parent_span_id, request.span_id)
        self.assertEqual(self.heads[0]["traceparent"], f"00-{TRACE}-{exchange.span_id.hex()}-01")
        self.assertEqual((request.kind, exchange.kind), (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT))
        self.assertEqual(request.name, "GET /*")
        seen = attributes(request)
        wanted = {
            "http.request.method": "GET",
            "url.path": "/x",
            "url.scheme": "http",
            "server.address": support.HOST,
            "client.address": "127.0.0.1",
            "http.route": "/*",
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
            "user_agent.original": "probe",
        }
        self.assertEqual({key: seen.get(key) for key in wanted}, wanted)
        self.assertNotIn("s3cret", str(request))
        self.assertEqual(attributes(exchange)["server.address"], self.backend.target)
        second = 10**9
        self.assertTrue(began - second < request.start_time_unix_nano <= request.end_time_unix_nano < time.time_ns() + second)
        self.assertEqual(self.collector.types, {"application/x-protobuf"})
        self.assertEqual(self.collector.resources[0]["service.name"], "vestibule")

    def test_an_error_is_marked_with_its_code(self):
        gone = support.free_port()
        proxy = self.start(sites=support.site(f"127.0.0.1:{gone}") + support.site(self.backend.target, host="b.localhost"))
        self.get(proxy)
        request, exchange = self.collector.of(2)
        self.assertEqual(request.status.code, Status.STATUS_CODE_ERROR)
        self.assertEqual(attributes(request)["error.type"], "upstream.refused")
        self.assertEqual(attributes(request)["http.response.status_code"], 502)
        self.collector.spans.clear()
        self.get(proxy, "/broken", host="b.localhost")
        self.assertEqual({span.status.code for span in self.collector.of(2)}, {Status.STATUS_CODE_ERROR})

    def test_the_log_names_the_trace(self):
        proxy = self.start(sample="0%")
        self.get(proxy, "/logged", fields=[("traceparent", f"00-{TRACE}-{PARENT}-00")])
        line = support.wait_until(lambda: [line for line in proxy.stdout if "/logged" in line], "the log line")[0]
        self.assertEqual(json.loads(line)["trace_id"], TRACE)

    def test_a_share_of_new_traces_is_recorded(self):
        for sample, wanted in (("100%", 40), ("0%", 0)):
            with self.subTest(sample):
                self.collector.spans.clear()
                self.heads.clear()
                proxy = self.start(sample=sample)
                for _ in range(20):
                    self.get(proxy)
                if wanted:
                    spans = self.collector.of(wanted)
                    self.assertEqual(len({span.trace_id for span in spans}), 20)
                proxy.term()
                self.assertEqual(proxy.wait(), 0)
                self.assertEqual(len(self.collector.spans), wanted)
                flags = {CONTEXT.fullmatch(head["traceparent"])[3] for head in self.heads}
                self.assertEqual(flags, {"01" if wanted else "00"})

    def test_the_last_spans_go_out_when_the_proxy_stops(self):
        proxy = self.start()
        self.get(proxy)
        proxy.term()
        self.assertEqual(proxy.wait(), 0)
        self.assertEqual(len(self.collector.spans), 2)

    def test_a_collector_that_refuses_or_is_gone_costs_spans_and_no_request(self):
        refuses = Collector(status=503)
        self.addCleanup(refuses.close)

        class Gone:
            port = support.free_port()

        for what, collector in (("refuses", refuses), ("gone", Gone)):
            with self.subTest(what):
                proxy = self.start(collector=collector)
                for _ in range(10):
                    self.assertEqual(self.get(proxy).status, 200)
                support.wait_until(lambda: any("spans lost" in line for line in proxy.stderr), "the loss is said")
                run = support.command([support.BINARY, "status", "--json", "--config", proxy.config], env={**support.os.environ, **proxy.environment()})
                self.assertGreater(json.loads(run.stdout)["tracing"]["lost"], 0)

    def test_a_collector_that_stands_still_stops_nothing_and_bounds_the_queue(self):
        release = threading.Event()
        self.addCleanup(release.set)
        still = FunctionServer({"*": lambda h: release.wait(support.PATIENCE)})
        self.addCleanup(still.close)
        proxy = self.start(collector=still, sites=support.site(self.backend.target) + '[sites."r.localhost"]\nhttp = "serve"\nrespond = { status = 204 }\n')
        with Client(proxy.http) as client:
            for _ in range(6_000):
                client.send(b"GET / HTTP/1.1\r\nHost: r.localhost\r\n\r\n")
                self.assertEqual(client.answer().status, 204)
        run = support.command([support.BINARY, "status", "--json", "--config", proxy.config], env={**support.os.environ, **proxy.environment()})
        counts = json.loads(run.stdout)["tracing"]
        self.assertGreater(counts["lost"], 0)
        self.assertLessEqual(counts["waiting"], 4096 + 512)


if __name__ == "__main__":
    support.main()
