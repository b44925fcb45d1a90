"""A SAML identity provider on pysaml2, with an EC key. Everyone signs in at each request: it keeps no session."""
import glob
import html
import json
import shutil
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, urlsplit

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, saml, xmldsig
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.server import Server

with open(sys.argv[1]) as file:
    CFG = json.load(file)
with open(f"{CFG['dir']}/users.json") as file:
    USERS = {user["uid"]: user for user in json.load(file)}
SIGN, DIGEST = {
    "P-256": (xmldsig.SIG_ECDSA_SHA256, xmldsig.DIGEST_SHA256),
    "P-384": (xmldsig.SIG_ECDSA_SHA384, xmldsig.DIGEST_SHA384),
    "P-521": (xmldsig.SIG_ECDSA_SHA512, xmldsig.DIGEST_SHA512),
}[CFG["curve"]]
FORMAT = {"email": saml.NAMEID_FORMAT_EMAILADDRESS, "persistent": saml.NAMEID_FORMAT_PERSISTENT}[CFG["nameid"]]


def config():
    """Read anew each time, so that add-sp works at once."""
    return IdPConfig().load({
        "entityid": f"{CFG['url']}/metadata",
        "service": {"idp": {
            "endpoints": {"single_sign_on_service": [(f"{CFG['url']}/sso", BINDING_HTTP_REDIRECT), (f"{CFG['url']}/sso", BINDING_HTTP_POST)]},
            "name_id_format": [FORMAT],
            "policy": {"default": {"lifetime": {"minutes": 5}, "fail_on_missing_requested": False}},
        }},
        "key_file": f"{CFG['dir']}/idp.key",
        "cert_file": f"{CFG['dir']}/idp.crt",
        "xmlsec_binary": shutil.which("xmlsec1"),
        "metadata": {"local": glob.glob(f"{CFG['dir']}/sp.d/*.xml")},
    })


def respond(user, request, binding, relay_state):
    idp = Server(config=config())
    message = idp.parse_authn_request(request, binding).message
    args = idp.response_args(message)
    name = saml.NameID(format=FORMAT, text=user["mail"] if CFG["nameid"] == "email" else user["uid"])
    response = idp.create_authn_response(
        {"groups": user["groups"], "mail": user["mail"], "displayName": f"{user['givenName']} {user['sn']}"},
        in_response_to=args["in_response_to"], destination=args["destination"], sp_entity_id=args["sp_entity_id"],
        name_id_policy=None, name_id=name, authn={"class_ref": saml.AUTHN_PASSWORD_PROTECTED},
        sign_response=False, sign_assertion=True, sign_alg=SIGN, digest_alg=DIGEST,
    )
    sent = idp.apply_binding(BINDING_HTTP_POST, str(response), args["destination"], relay_state, response=True)
    return sent["data"]


class Handler(BaseHTTPRequestHandler):
    def answer(self, body, kind="text/html", status=200):
        body = (body if isinstance(body, str) else "".join(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_form(self, fields, binding):
        user, problem = USERS.get(fields.get("login", "")), ""
        if "login" in fields:
            if user and user["password"] == fields.get("password"):
                return self.answer(respond(user, fields["SAMLRequest"], fields["binding"], fields.get("RelayState", "")))
            problem = "<p role=alert>wrong name or password</p>"
        kept = {name: fields.get(name, "") for name in ("SAMLRequest", "RelayState")} | {"binding": fields.get("binding", binding)}
        hidden = "".join(f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in kept.items())
        self.answer(
            f'<!doctype html><html lang="en"><title>Sign in</title><h1>Sign in</h1>{problem}<form method="post" action="/sso">{hidden}'
            '<label>Name <input name="login" type="text"></label><label>Password <input name="password" type="password"></label>'
            '<button type="submit">Sign in</button></form></html>')

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/metadata":
            return self.answer(str(entity_descriptor(config())), "application/samlmetadata+xml")
        if url.path == "/sso":
            return self.handle_form(dict(parse_qsl(url.query)), BINDING_HTTP_REDIRECT)
        self.answer("nothing here", status=404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.handle_form({name: values[0] for name, values in parse_qs(body).items()}, BINDING_HTTP_POST)


ThreadingHTTPServer(("127.0.0.1", CFG["port"]), Handler).serve_forever()
