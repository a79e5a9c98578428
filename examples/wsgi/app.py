"""A Flask application that says what it sees of a request, behind vestibule.

`ProxyFix` takes the client's address, scheme, host and mount point from the X-Forwarded fields. It believes exactly one
proxy: vestibule drops what a client sent under these names and sets its own.
"""

import hashlib
import json

from flask import Flask, Response, redirect, request, stream_with_context, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)


@app.get("/")
def hello():
    return f"Hello, {request.remote_addr}, over {request.scheme}.\n"


@app.route("/facts", methods=["GET", "HEAD", "OPTIONS", "PATCH", "DELETE"], provide_automatic_options=False)
@app.route("/facts/<path:rest>")
def facts(rest=""):
    """The WSGI environment as JSON: strings only."""
    environ = {key: value for key, value in request.environ.items() if isinstance(value, str)}
    environ["url"] = request.url
    return Response(json.dumps(environ, sort_keys=True), mimetype="application/json")


@app.post("/digest")
def digest():
    """Length and SHA-256 of the body, read as a stream."""
    sha, length = hashlib.sha256(), 0
    while chunk := request.stream.read(65536):
        sha.update(chunk)
        length += len(chunk)
    return {"length": length, "sha256": sha.hexdigest()}


@app.get("/stream")
def stream():
    """A generator: each line is sent when it is made."""
    return Response(stream_with_context(f"line {n}\n" for n in range(5)), mimetype="text/plain")


@app.get("/login")
def login():
    """Two cookies, in order, and a redirect by an absolute URL."""
    answer = redirect(url_for("facts", _external=True))
    answer.set_cookie("first", "1", secure=request.is_secure)
    answer.set_cookie("second", "2", secure=request.is_secure)
    return answer


@app.get("/empty")
def empty():
    return "", 204


@app.get("/broken")
def broken():
    return "the application said no\n", 500
