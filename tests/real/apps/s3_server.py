"""An S3 server: moto's, behind a check of every request's signature (AWS Signature Version 4) over the target as it came.

moto itself checks no signature. What a proxy changes about a request, its path above all, breaks it here.
"""

import urllib.parse

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

KEY, SECRET = "AKIDEXAMPLE", "a secret of the test"
moto = DomainDispatcherApplication(create_backend_app)


def signature_of(environ, names, scope):
    """The signature that these fields and this target must have."""
    url = f"http://{environ['HTTP_HOST']}{environ['RAW_URI']}"
    keys = {name: "HTTP_" + name.upper().replace("-", "_") for name in names}
    keys |= {name: name.upper().replace("-", "_") for name in ("content-type", "content-length") if name in names}
    headers = {name: environ.get(key, "") for name, key in keys.items()}
    request = AWSRequest(method=environ["REQUEST_METHOD"], url=url, headers=headers)
    request.context["timestamp"] = environ["HTTP_X_AMZ_DATE"]
    auth = S3SigV4Auth(Credentials(KEY, SECRET), "s3", scope[2])
    return auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)


def application(environ, start_response):
    kind, _, rest = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(",")) if kind == "AWS4-HMAC-SHA256" else {}
    good = False
    if parts:
        scope = parts["Credential"].split("/")
        good = parts["Signature"] == signature_of(environ, parts["SignedHeaders"].split(";"), scope)
    if not good:
        body = b"<Error><Code>SignatureDoesNotMatch</Code><Message>%s</Message></Error>" % (
            urllib.parse.quote(environ["RAW_URI"]).encode()
        )
        start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]
    return moto(environ, start_response)
