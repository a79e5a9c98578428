"""A Django project in one file: the admin, an upload form, and a chat over server-sent events.

Behind a proxy it needs what docs/how-to.md says: SECURE_PROXY_SSL_HEADER, and FORCE_SCRIPT_NAME below a prefix.
"""

import hashlib
import os
import queue
import sys

import django
from django.conf import settings
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.urls import path, reverse

settings.configure(
    SECRET_KEY="of this run",
    ALLOWED_HOSTS=[".localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DJANGO_DATABASE"]}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    # The prefix that the proxy strips; a relative STATIC_URL stands below it.
    FORCE_SCRIPT_NAME=os.environ.get("DJANGO_PREFIX"),
    STATIC_URL="static/",
    # The connection to the proxy is in clear; what the proxy says about the client's counts.
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    SESSION_COOKIE_SECURE=True,
    CSRF_COOKIE_SECURE=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.contrib import admin  # noqa: E402 - needs the settings
from django.contrib.staticfiles.views import serve  # noqa: E402

listeners = set()

UPLOAD = """<!doctype html><title>upload</title>
<form method="post" enctype="multipart/form-data"><input type="hidden" name="csrfmiddlewaretoken" value="{token}">
<input type="file" name="file" id="file"><button id="send">send</button></form>"""
CHAT = """<!doctype html><title>chat</title><ul id="said"></ul><input id="text"><button id="say">say</button>
<script>
const events = new EventSource("{events}");
events.onopen = () => document.title = "open";
events.onmessage = event => {{
  const item = document.createElement("li");
  item.textContent = event.data;
  document.getElementById("said").append(item);
}};
document.getElementById("say").onclick = () => fetch("{say}", {{
  method: "POST", headers: {{"X-CSRFToken": "{token}"}}, body: document.getElementById("text").value,
}});
</script>"""


def upload(request):
    if request.method == "POST":
        digest = hashlib.sha256()
        for piece in request.FILES["file"].chunks():
            digest.update(piece)
        name = request.FILES["file"].name
        return HttpResponse(f"<!doctype html><title>done</title><p id=got>{name} {digest.hexdigest()}</p>")
    return HttpResponse(UPLOAD.format(token=get_token(request)))


def chat(request):
    return HttpResponse(CHAT.format(events=reverse("events"), say=reverse("say"), token=get_token(request)))


def say(request):
    for listener in list(listeners):
        listener.put(request.body.decode())
    return HttpResponse(status=204)


def events(request):
    mine = queue.Queue()

    def stream():
        listeners.add(mine)
        try:
            yield ": open\n\n"
            while True:
                try:
                    yield f"data: {mine.get(timeout=5)}\n\n"
                except queue.Empty:
                    yield ": still here\n\n"
        finally:
            listeners.discard(mine)

    return StreamingHttpResponse(stream(), content_type="text/event-stream", headers={"Cache-Control": "no-cache"})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("upload/", upload),
    path("chat/", chat),
    path("chat/say", say, name="say"),
    path("chat/events", events, name="events"),
    path("static/<path:path>", serve, {"insecure": True}),
]
application = get_wsgi_application()

if __name__ == "__main__" and sys.argv[1:] == ["prepare"]:
    call_command("migrate", verbosity=0)
    from django.contrib.auth.models import User

    User.objects.create_superuser("joe", password="a password of the test")
