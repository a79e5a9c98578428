"""A Flask application that may be mounted below a prefix: ProxyFix is all it needs."""

from flask import Flask, jsonify, redirect, request, session, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.config.update(SECRET_KEY="of this run", SESSION_COOKIE_SECURE=True)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_port=1, x_prefix=1)


@app.get("/")
def index():
    return f"""<!doctype html><title>front</title><h1 id="who">{session.get("who", "nobody")}</h1>
<form method="post" action="{url_for("login")}"><input name="who" id="who-field"><button id="go">go</button></form>"""


@app.post("/login")
def login():
    session["who"] = request.form["who"]
    return redirect(url_for("index", _external=True))


@app.get("/facts")
def facts():
    return jsonify(url=request.url, root=request.url_root, address=request.remote_addr, secure=request.is_secure)
