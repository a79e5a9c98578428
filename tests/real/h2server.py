"""An HTTP/2 backend on the `h2` package, in threads of the suite's own process: it behaves, or misbehaves as told."""

import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import support


class Stream:
    """One request at the server."""

    def __init__(self, peer, number, fields):
        self.peer, self.number, self.fields = peer, number, fields
        self.body, self.trailers, self.ended, self.reset = b"", None, False, None

    def respond(self, status, *fields, end=False):
        self.peer.h2.send_headers(self.number, [(":status", str(status)), *fields], end_stream=end)
        self.peer.flush()

    def data(self, data, end=False):
        """Queues a body: it goes out as the windows allow."""
        self.peer.queue.setdefault(self.number, []).append((data, end))
        self.peer.pump(self.number)

    def trail(self, *fields):
        self.peer.h2.send_headers(self.number, fields, end_stream=True)
        self.peer.flush()

    def rst(self, code):
        self.peer.h2.reset_stream(self.number, code)
        self.peer.flush()

    def raw(self, data):
        """Bytes past the library's own checks."""
        self.peer.flush()
        self.peer.socket.sendall(data)


class Peer:
    """One connection of the proxy."""

    def __init__(self, server, connection):
        self.server, self.socket = server, connection
        config = h2.config.H2Configuration(
            client_side=False, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.h2 = h2.connection.H2Connection(config)
        self.streams, self.queue = {}, {}
        # Held while what arrived is taken; whoever answers from another thread holds it too.
        self.lock = threading.RLock()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def pump(self, number):
        queue = self.queue.get(number, [])
        while queue:
            data, end = queue[0]
            room = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            if data and room == 0:
                break
            part, rest = data[:room], data[room:]
            self.h2.send_data(number, part, end_stream=end and not rest)
            queue[0] = (rest, end)
            if not rest:
                queue.pop(0)
        self.flush()

    def run(self):
        self.h2.initiate_connection()
        if self.server.max_streams is not None:
            self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.server.max_streams})
        self.flush()
        while data := self.socket.recv(65536):
            with self.lock:
                for event in self.h2.receive_data(data):
                    self.take(event)
                self.flush()

    def take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            fields = dict(event.headers)
            stream = self.streams[event.stream_id] = Stream(self, event.stream_id, fields)
            self.server.heads.append(fields)
            self.server.all.append(event.headers)
            self.server.streams.append(stream)
            self.server.on_head(stream)
        elif isinstance(event, h2.events.DataReceived):
            stream = self.streams[event.stream_id]
            stream.body += event.data
            self.server.on_data(stream, event.data)
            if self.server.reads:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.streams[event.stream_id].trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self.streams[event.stream_id]
            stream.ended = True
            self.server.on_end(stream)
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset = event.error_code
            self.queue.pop(event.stream_id, None)
        elif isinstance(event, h2.events.WindowUpdated):
            for number in list(self.queue) if event.stream_id == 0 else [event.stream_id]:
                self.pump(number)


class H2Server:
    """`on_head`, `on_data` and `on_end` are functions of a Stream; by default it echoes the whole body.

    `heads` has the fields of each request, `streams` the requests, `connections` their number of connections.
    """

    def __init__(self, on_head=None, on_data=None, on_end=None, tls=None, max_streams=None, reads=True):
        self.on_head = on_head or (lambda stream: None)
        self.on_data = on_data or (lambda stream, data: None)
        self.on_end = on_end or self.echo
        self.max_streams, self.reads = max_streams, reads
        self.heads, self.all, self.streams, self.peers, self.failures = [], [], [], [], []
        self.connections = 0
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
            self.context.set_alpn_protocols(["h2"])
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @staticmethod
    def echo(stream):
        stream.respond(200, ("content-length", str(len(stream.body))), ("content-type", "text/plain"))
        stream.data(stream.body, end=True)

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.settimeout(support.PATIENCE * 3)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            peer = Peer(self, connection)
            self.peers.append(peer)
            peer.run()
        except (OSError, h2.exceptions.H2Error) as failure:
            self.failures.append(failure)
        finally:
            connection.close()

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.socket.close()
