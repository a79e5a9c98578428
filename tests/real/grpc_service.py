"""A gRPC service without generated files: bytes in, bytes out, and what the server saw of each call."""

import concurrent.futures
import threading

import grpc

SERVICE = "test.Calls"
LIMITS = (("grpc.max_receive_message_length", 8 << 20), ("grpc.max_send_message_length", 8 << 20))


class Calls:
    """What the handlers remember: metadata of calls by their `x-call`, and the calls that ended early."""

    def __init__(self):
        self.metadata, self.cancelled, self.begun = [], threading.Event(), threading.Event()
        self.release = threading.Event()

    def note(self, context):
        self.metadata.append(dict(context.invocation_metadata()))

    def unary(self, request, context):
        self.note(context)
        context.send_initial_metadata((("x-initial", "first"),))
        context.set_trailing_metadata((("x-trailing", "last"), ("x-bytes-bin", b"\x00\xff")))
        return request[::-1]

    def fail(self, request, context):
        context.set_trailing_metadata((("x-trailing", "failed"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"no: ä % {len(request)}")

    def fail_late(self, request, context):
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.DATA_LOSS, "the rest is lost")

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def total(self, requests, context):
        return b"%d" % sum(len(request) for request in requests)

    def echo(self, requests, context):
        for request in requests:
            yield request

    def wait(self, request, context):
        context.add_callback(self.cancelled.set)
        self.begun.set()
        self.release.wait(60)
        return b"late"

    def stream(self, request, context):
        """Sends until the client is gone."""
        context.add_callback(self.cancelled.set)
        self.begun.set()
        yield b"first"
        while context.is_active() and not self.release.wait(0.05):
            yield b"more"


class Server:
    """A grpcio server on a port of its own; `credentials` as of `grpc.ssl_server_credentials`."""

    def __init__(self, credentials=None, port=0):
        self.calls = calls = Calls()
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(calls.unary),
            "Fail": grpc.unary_unary_rpc_method_handler(calls.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(calls.fail_late),
            "Count": grpc.unary_stream_rpc_method_handler(calls.count),
            "Total": grpc.stream_unary_rpc_method_handler(calls.total),
            "Echo": grpc.stream_stream_rpc_method_handler(calls.echo),
            "Wait": grpc.unary_unary_rpc_method_handler(calls.wait),
            "Stream": grpc.unary_stream_rpc_method_handler(calls.stream),
        }
        self.server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(32),
            handlers=[grpc.method_handlers_generic_handler(SERVICE, handlers)],
            options=LIMITS,
        )
        address = f"127.0.0.1:{port}"
        if credentials:
            self.port = self.server.add_secure_port(address, credentials)
        else:
            self.port = self.server.add_insecure_port(address)
        self.server.start()

    def stop(self, grace=None):
        self.calls.release.set()
        self.server.stop(grace).wait()


class Client:
    """The calls of the service over one channel."""

    def __init__(self, channel):
        self.channel = channel
        self.unary = channel.unary_unary(f"/{SERVICE}/Unary")
        self.fail = channel.unary_unary(f"/{SERVICE}/Fail")
        self.fail_late = channel.unary_stream(f"/{SERVICE}/FailLate")
        self.count = channel.unary_stream(f"/{SERVICE}/Count")
        self.total = channel.stream_unary(f"/{SERVICE}/Total")
        self.echo = channel.stream_stream(f"/{SERVICE}/Echo")
        self.wait = channel.unary_unary(f"/{SERVICE}/Wait")
        self.stream = channel.unary_stream(f"/{SERVICE}/Stream")
        self.missing = channel.unary_unary(f"/{SERVICE}/Missing")

    def close(self):
        self.channel.close()


def main():
    """A server of its own process: prints its port, and serves until it is killed."""
    server = Server()
    print(server.port, flush=True)
    server.server.wait_for_termination()


if __name__ == "__main__":
    main()
