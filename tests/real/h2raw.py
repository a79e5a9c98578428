"""An HTTP/2 client of raw frames: it sends what RFC 9113 forbids as readily as what it allows."""

import hyperframe.frame as frames
from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from rawhttp import Answer, Client

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FLOW_WINDOW = 1 << 24


class H2Client:
    """One TLS connection with ALPN h2; `answer` gives the response of one stream."""

    def __init__(self, port, ca, name, timeout=10, source="127.0.0.1"):
        self.client = Client(port, tls=ca, name=name, timeout=timeout, alpn=("h2",), source=source)
        self.chosen = self.client.socket.selected_alpn_protocol()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.settings = {}
        self.answers, self.ended, self.goaway = {}, {}, None
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
