"""An HTTP/2 client of raw frames: it sends what RFC 9113 forbids as readily as what it allows."""

import hyperframe.frame as frames
from cases.h2frames import ERRORS
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from rawhttp import Answer, Client

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FLOW_WINDOW = 1 << 24


class H2Client:
    """One TLS connection with ALPN h2; `answer` gives the response of one stream."""

    def __init__(self, port, ca, name, timeout=10, **options):
        self.client = Client(port, tls=ca, name=name, timeout=timeout, alpn=("h2",), **options)
        self.chosen = self.client.socket.selected_alpn_protocol()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.settings = {}
        self.answers, self.trailers, self.ended, self.goaway = {}, {}, {}, None
        # What may be sent: of the connection (0), and of each stream what differs from the server's setting.
        self.windows = {0: 65535}
        ours = frames.SettingsFrame(0)
        ours.settings = {frames.SettingsFrame.INITIAL_WINDOW_SIZE: FLOW_WINDOW, frames.SettingsFrame.ENABLE_PUSH: 0}
        window = frames.WindowUpdateFrame(0, window_increment=FLOW_WINDOW)
        self.client.send(PREFACE + ours.serialize() + window.serialize())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.socket.close()

    def send_frame(self, frame):
        return self.client.send(frame.serialize())

    def headers(self, stream, fields, end=True):
        """HEADERS with exactly these fields, in this order, without any check."""
        block = self.encoder.encode([NeverIndexedHeaderTuple(name, value) for name, value in fields])
        pieces = [block[at : at + 16000] for at in range(0, len(block), 16000)] or [b""]
        frame = frames.HeadersFrame(stream, pieces[0])
        if end:
            frame.flags.add("END_STREAM")
        if len(pieces) == 1:
            frame.flags.add("END_HEADERS")
        self.send_frame(frame)
        for number, piece in enumerate(pieces[1:], 2):
            more = frames.ContinuationFrame(stream, piece)
            if number == len(pieces):
                more.flags.add("END_HEADERS")
            self.send_frame(more)

    def data(self, stream, data, end=True):
        frame = frames.DataFrame(stream, data)
        if end:
            frame.flags.add("END_STREAM")
        self.send_frame(frame)

    def data_within_windows(self, stream, data):
        """All of `data` in DATA frames, as fast as the server opens its windows."""
        while data and stream not in self.ended:
            size = min(len(data), 16384, self.windows[0], self.window(stream))
            if size <= 0:
                if not self.step():
                    return
                continue
            self.data(stream, data[:size], end=False)
            self.windows[0] -= size
            self.windows[stream] = self.windows.get(stream, 0) - size
            data = data[size:]

    def window(self, stream):
        initial = self.settings.get(frames.SettingsFrame.INITIAL_WINDOW_SIZE, 65535)
        return initial + self.windows.get(stream, 0)

    def read_frame(self):
        head = self.client.read_exactly(9)
        if len(head) < 9:
            return None
        frame, length = frames.Frame.parse_frame_header(memoryview(head))
        body = self.client.read_exactly(length)
        if len(body) < length:
            return None
        frame.parse_body(memoryview(body))
        return frame

    def step(self):
        """Take in one frame; False when the connection has ended."""
        frame = self.read_frame()
        if frame is None:
            return False
        stream = frame.stream_id
        if isinstance(frame, frames.SettingsFrame) and "ACK" not in frame.flags:
            self.settings.update(frame.settings)
            self.send_frame(frames.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, frames.PingFrame) and "ACK" not in frame.flags:
            self.send_frame(frames.PingFrame(0, opaque_data=frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, frames.HeadersFrame):
            self._take_headers(stream, frame)
        elif isinstance(frame, frames.DataFrame):
            self.answers.setdefault(stream, Answer()).body += frame.data
        elif isinstance(frame, frames.WindowUpdateFrame):
            self.windows[stream] = self.windows.get(stream, 0) + frame.window_increment
        elif isinstance(frame, frames.RstStreamFrame):
            self.ended[stream] = f"reset {frame.error_code}"
        elif isinstance(frame, frames.GoAwayFrame):
            self.goaway = frame.error_code
        if "END_STREAM" in frame.flags and stream not in self.ended:
            self.ended[stream] = "end"
        return True

    def _take_headers(self, stream, frame):
        block = frame.data
        while "END_HEADERS" not in frame.flags:
            frame = self.read_frame()
            block += frame.data
        fields = [(name, value) for name, value in self.decoder.decode(block)]
        answer = self.answers.setdefault(stream, Answer())
        status = int(dict(fields).get(":status", 0))
        if 100 <= status < 200:
            answer.interim.append((status, fields))
        elif status:
            answer.status, answer.fields = status, fields
        else:
            self.trailers[stream] = fields

    def answer(self, stream):
        """The response of `stream`, complete when END_STREAM was seen; None when the stream got no response."""
        while stream not in self.ended and self.step():
            pass
        answer = self.answers.get(stream)
        if answer is not None and answer.status:
            answer.complete = self.ended.get(stream) == "end"
            return answer
        return None

    def first_settings(self):
        while not self.settings and self.step():
            pass
        return self.settings


class FrameClient:
    """One TLS connection of frames as octets: it says what it is told and tells what comes, event by event.

    It acknowledges SETTINGS, so that a server has no reason of its own to leave.
    """

    def __init__(self, port, ca, name, timeout=20, preface=PREFACE, settings=()):
        self.client = Client(port, tls=ca, name=name, timeout=timeout, alpn=("h2",))
        self.decoder = Decoder()
        self.settings, self.status, self.bodies, self.events = {}, {}, {}, []
        ours = frames.SettingsFrame(0)
        ours.settings = dict(settings)
        self.send(preface + (ours.serialize() if preface == PREFACE else b""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.socket.close()

    def send(self, octets):
        return self.client.send(octets)

    def read(self):
        """One frame as `(kind, flags, stream, payload)`; None at the end."""
        head = self.client.read_exactly(9)
        if len(head) < 9:
            return None
        length = int.from_bytes(head[:3], "big")
        payload = self.client.read_exactly(length)
        return None if len(payload) < length else (head[3], head[4], int.from_bytes(head[5:], "big"), payload)

    def event(self, kinds, stream=None):
        """The next event of one of these kinds: `(kind, detail)`. What comes before it is taken in."""
        while True:
            found = self.read()
            if found is None:
                if self.client.ended == "timeout":
                    return ("timeout", None)
                return ("close", None)
            for kind, detail, of in self.take(*found):
                self.events.append((kind, detail, of))
                if kind in kinds and (stream is None or not of or of == stream):
                    return kind, detail

    def take(self, kind, flags, stream, payload):
        if kind == 4 and not flags & 1:
            for at in range(0, len(payload), 6):
                key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
                self.settings[key] = value
            self.send(frames.SettingsFrame(0, flags=["ACK"]).serialize())
        elif kind == 4:
            yield "settings", "ack", 0
        elif kind == 6 and flags & 1:
            yield "ping", payload, 0
        elif kind == 7:
            yield "goaway", error_name(payload[4:8]), 0
        elif kind == 3:
            yield "reset", error_name(payload), stream
        elif kind == 1:
            status = dict(self.decoder.decode(payload)).get(":status")
            if status and not status.startswith("1"):
                self.status[stream] = status
                yield "head", status, stream
            elif status:
                yield "interim", status, stream
        elif kind == 0:
            self.bodies[stream] = self.bodies.get(stream, 0) + len(payload)
            yield "data", len(payload), stream
        if kind in (0, 1) and flags & 1:
            yield "answer", self.status.get(stream), stream


def error_name(code):
    """The name of an error code (RFC 9113 section 7)."""
    number = int.from_bytes(code, "big")
    return ERRORS[number] if number < len(ERRORS) else number
