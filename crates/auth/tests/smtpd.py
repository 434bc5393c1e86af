"""A server that takes mail over TLS from whoever signs in, by aiosmtpd: what it takes stands in files.

usage: smtpd.py DIRECTORY starttls|implicit PORT; DIRECTORY has tls.crt and tls.key. Says on which port it listens. While
DIRECTORY has a file `refuse` no recipient is taken.
"""

import asyncio
import itertools
import ssl
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult

directory, mode, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
numbers = itertools.count()


class Mailbox:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if (directory / "refuse").exists():
            return f"550 5.1.1 <{address}>: nobody of that name here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        assert session.ssl is not None or mode == "implicit"
        number = next(numbers)
        text = f"Envelope: {envelope.mail_from} {' '.join(envelope.rcpt_tos)}\r\n".encode() + envelope.content
        (directory / f"{number}.part").write_bytes(text)
        (directory / f"{number}.part").rename(directory / f"{number}.eml")
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    right = (data.login, data.password) == (b"portal", b"the password of portal")
    return AuthResult(success=right, handled=False)


def session():
    tls = {"tls_context": context, "require_starttls": True} if mode == "starttls" else {"auth_require_tls": False}
    return SMTP(Mailbox(), authenticator=authenticate, auth_required=True, enable_SMTPUTF8=True, **tls)


async def main():
    over = {"ssl": context} if mode == "implicit" else {}
    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", port, **over)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
asyncio.run(main())
