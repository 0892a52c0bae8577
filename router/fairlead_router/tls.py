"""TLS on both sides of the router: the server that clients connect to, and the client that connects to engines.

Both hold the context of the last good files, and `reload` makes another when the files have changed. Connections keep
what they were made with; new ones get new certificates and new authorities. Nothing of an old context is changed in
place: authorities cannot be taken out of a context, and a session that it would resume shows no certificate again.
"""

import ssl
from pathlib import Path
from typing import Any, Final

from fairlead_router.config import EngineTls, Tls

_PROTOCOLS: Final = ["http/1.1"]
"""Offered in the handshake (ALPN): a client that would speak HTTP/2 learns here that it must not."""


def files_of(config: Tls) -> tuple[Path, ...]:
    """Return the files to follow for TLS towards clients."""
    return _paths(config.certificate, config.key, config.client_ca)


class ServerTls:
    """TLS towards clients."""

    def __init__(self, config: Tls) -> None:
        """Read the files.

        Raises
        ------
        ValueError
            A file cannot be used; the message names the field, the file and what is wrong.

        """
        self._config = config
        self._following = _FollowingContext(ssl.PROTOCOL_TLS_SERVER)
        self.context: ssl.SSLContext = self._following
        """For a listening socket, once and for all: every new connection is made by the context of the last files."""
        self.reload()

    def reload(self) -> None:
        """Read the files again; where one cannot be used, what was read before stays.

        Raises
        ------
        ValueError
            As for the first time.

        """
        config = self._config
        context = _bare(ssl.PROTOCOL_TLS_SERVER)
        _load_own(context, "tls", config.certificate, config.key)
        if config.client_ca is not None:
            _load_authorities(context, "tls.clientCa", config.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self._following.current = context


class ClientTls:
    """TLS towards engines."""

    def __init__(self, config: EngineTls) -> None:
        """Read the files.

        Raises
        ------
        ValueError
            A file cannot be used; the message names the field, the file and what is wrong.

        """
        self._config = config
        self.server_name = config.server_name
        """Name that engines' certificates must have; None is the engine's address."""
        self.context: ssl.SSLContext
        """For the next connection: another object after the files have changed."""
        self.reload()

    @property
    def files(self) -> tuple[Path, ...]:
        """What to follow; none where the system's authorities are trusted and no certificate is shown."""
        return _paths(self._config.ca, self._config.certificate, self._config.key)

    def reload(self) -> None:
        """Read the files again; where one cannot be used, what was read before stays.

        Raises
        ------
        ValueError
            As for the first time.

        """
        config = self._config
        context = _bare(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
        if config.ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            _load_authorities(context, "engineTls.ca", config.ca)
        if config.certificate is not None and config.key is not None:
            _load_own(context, "engineTls", config.certificate, config.key)
        self.context = context


class _FollowingContext(ssl.SSLContext):
    """Makes every connection by the context that is current then.

    A server takes one context for its life. asyncio and uvloop ask it for nothing but `wrap_bio`, once a connection.
    The callback for server names, the usual place for a switch, would be too late: OpenSSL has by then decided
    whether to ask for a certificate and whether to resume a session.
    """

    current: ssl.SSLContext

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection."""
        return self.current.wrap_bio(*arguments, **options)


def _bare(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(_PROTOCOLS)
    return context


def _load_own(context: ssl.SSLContext, field: str, certificate: str, key: str) -> None:
    """Load the certificate that this side shows, and its key."""
    for name, path in (("certificate", certificate), ("key", key)):
        _check_readable(f"{field}.{name}", path)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        what = (
            "key and certificate do not belong together"
            if error.reason == "KEY_VALUES_MISMATCH"
            else "must be a chain of certificates and an unencrypted private key, in PEM"
        )
        raise ValueError(f"{field}: {certificate} and {key}: {what} ({error.reason})") from error


def _load_authorities(context: ssl.SSLContext, field: str, path: str) -> None:
    """Load the certificates of the authorities that are trusted, and no other."""
    _check_readable(field, path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise ValueError(f"{field}: {path} must hold certificates in PEM ({error.reason})") from error


def _check_readable(field: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"{field}: cannot read {path}: {error.strerror}") from error


def _no_password() -> str:
    """Answer OpenSSL, which else would ask at the terminal."""
    raise ValueError("the private key is encrypted; give it without a passphrase, in a file that only the router reads")


def _paths(*files: str | None) -> tuple[Path, ...]:
    return tuple(Path(file) for file in files if file is not None)
