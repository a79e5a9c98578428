"""A WebDAV server: WsgiDAV over the folder in DAV_ROOT. It compares a MOVE's Destination with its own scheme and host."""

import os

from wsgidav.wsgidav_app import WsgiDAVApp

application = WsgiDAVApp(
    {
        "provider_mapping": {"/": os.environ["DAV_ROOT"]},
        "simple_dc": {"user_mapping": {"*": {"joe": {"password": "secret"}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "verbose": 1,
    }
)
