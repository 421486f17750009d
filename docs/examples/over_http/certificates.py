"""A certificate authority of your own, and a certificate for the server and for each client.

    python certificates.py tls --host localhost --clients 3

For trying things out: all private keys are made in one place here. In earnest each party makes its own key and sends
the authority a signing request; the authority's key stays off all of these machines.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 90


def write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """NAME.key, which its owner alone may read, and NAME.crt."""
    pem, clear = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    with os.fdopen(os.open(folder / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.private_bytes(serialization.Encoding.PEM, pem, clear))
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def certify(
    name: str, key: ec.EllipticCurvePrivateKey, authority: tuple[str, ec.EllipticCurvePrivateKey], host: str | None
) -> x509.Certificate:
    """A certificate of the authority's: its own where the names are the same, a server's where there is a host."""
    issuer, issuer_key = authority
    is_authority, now = name == issuer, datetime.now(UTC)
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    builder = (
        x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(not is_authority, *[False] * 4, is_authority, is_authority, *[False] * 2), critical=True
        )
    )
    if not is_authority:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if host else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if host:
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def main() -> None:
    """Write them all into a new folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--host", default="localhost", help="name or address that clients reach the server at")
    parser.add_argument("--clients", type=int, default=3, help="certificates for client-1 … client-N")
    arguments = parser.parse_args()
    arguments.folder.mkdir(mode=0o700)
    authority = ("authority", ec.generate_private_key(ec.SECP256R1()))
    write(arguments.folder, "authority", authority[1], certify("authority", authority[1], authority, None))
    for name in ("server", *(f"client-{client}" for client in range(1, arguments.clients + 1))):
        key = ec.generate_private_key(ec.SECP256R1())
        host = arguments.host if name == "server" else None
        write(arguments.folder, name, key, certify(name, key, authority, host))
    print(f"{arguments.folder}: authority, server for {arguments.host}, {arguments.clients} clients")


if __name__ == "__main__":
    main()
