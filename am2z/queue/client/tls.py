"""TLS: the settings of a URL as a context, and what its failures mean."""

from __future__ import annotations

import ssl

from am2z.errors import ConfigurationError

from .url import Target

__all__ = ["explain_tls", "tls_context", "tls_options"]

_NO = ("0", "false", "no")
_CERT_REQS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def tls_context(target: Target) -> ssl.SSLContext:
    """The TLS settings that the URL's ``ssl_*`` options ask for; by default everything is checked.

    Raises ``ConfigurationError`` for an unknown value and for a file that cannot be read.
    """
    options = target.tls
    wanted = options.get("ssl_cert_reqs", "required").lower()
    if wanted not in _CERT_REQS:
        raise ConfigurationError(
            f"ssl_cert_reqs={wanted!r} in {target.safe_url!r}: use one of {', '.join(_CERT_REQS)}"
        )
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        check = options.get("ssl_check_hostname", "true").lower() not in _NO
        context.check_hostname = check and wanted != "none"
        context.verify_mode = _CERT_REQS[wanted]
        if certificate := options.get("ssl_certfile"):
            context.load_cert_chain(certificate, options.get("ssl_keyfile"))
    except OSError as error:
        raise ConfigurationError(
            f"the TLS files of {target.safe_url!r} cannot be used: {error}"
        ) from error
    return context


def tls_options(target: Target) -> dict[str, object]:
    """The same settings as redis-py's own client takes them."""
    options: dict[str, object] = dict(target.tls)
    if (check := target.tls.get("ssl_check_hostname")) is not None:
        options["ssl_check_hostname"] = check.lower() not in _NO
    if target.tls.get("ssl_cert_reqs", "").lower() == "none":
        options["ssl_check_hostname"] = False
    return options


def explain_tls(error: BaseException) -> str | None:
    """What to do about a failed handshake; ``None`` if the error is about something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its TLS certificate is not trusted: {error.verify_message}. "
            "Name the authority that signed it in ssl_ca_certs"
        )
    if not isinstance(error, ssl.SSLError):
        return None
    reason = error.reason or str(error)
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return (
            "it wants to see a client's TLS certificate: "
            "name one in ssl_certfile, and its key in ssl_keyfile"
        )
    if "UNKNOWN_CA" in reason:
        return "it does not trust the client's TLS certificate, the one of ssl_certfile"
    return f"TLS failed: {reason}"
