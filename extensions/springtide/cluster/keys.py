"""The keys of one cluster: an authority of its own, and a key for each of scheduler, client and workers.

The authority's key is forgotten as soon as it has signed the three: nobody can make a fourth. Scheduler's and client's
keys stay in memory. Only the workers' is written down, as jobs read it from the shared file system and machines get it
with their first script. Dask lets a holder of any of the keys connect in any part, so a worker is trusted as much as a
client; what an outsider can do without a key is nothing.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed.security import Security

LIFETIME_S = 7 * 24 * 3600.0
"""How long the keys of a cluster are valid, where nothing else is said."""
# Clocks of nodes and machines differ.
_CLOCKS_DIFFER_BY = datetime.timedelta(minutes=10)


@dataclass(frozen=True, repr=False)
class Pair:
    """A certificate and its private key, as PEM. Never shown."""

    certificate: str
    key: str


@dataclass(frozen=True, repr=False)
class ClusterKeys:
    """All keys of one cluster, as PEM. Never shown."""

    authority: str
    scheduler: Pair
    client: Pair
    worker: Pair

    @property
    def security(self) -> Security:
        """What scheduler and client of this process use: encryption is required of everyone."""
        return Security(
            require_encryption=True,
            tls_ca_file=self.authority,
            tls_scheduler_cert=self.scheduler.certificate,
            tls_scheduler_key=self.scheduler.key,
            tls_client_cert=self.client.certificate,
            tls_client_key=self.client.key,
            # The cluster's own messages to workers go through the scheduler: it needs no worker's key here.
            tls_worker_cert=self.client.certificate,
            tls_worker_key=self.client.key,
        )


@dataclass(frozen=True)
class KeyFiles:
    """Where a worker finds its key."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def options(self) -> list[str]:
        """Command line options of ``dask worker``: paths, never what is in them."""
        return ["--tls-ca-file", str(self.authority), "--tls-cert", str(self.certificate), "--tls-key", str(self.key)]

    @property
    def security(self) -> Security:
        """What dask-jobqueue puts into a job's command line."""
        return Security(
            require_encryption=True,
            tls_ca_file=str(self.authority),
            tls_worker_cert=str(self.certificate),
            tls_worker_key=str(self.key),
        )


def make_keys(cluster: str, *, lifetime_s: float = LIFETIME_S) -> ClusterKeys:
    """Return fresh keys for the cluster called `cluster`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"springtide {cluster}")
    ends = datetime.timedelta(seconds=lifetime_s)
    authority = _certificate(name, name, key.public_key(), key, ends, authority=True)

    def pair(role: str) -> Pair:
        own = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(_name(f"{role} of {cluster}"), name, own.public_key(), key, ends, authority=False)
        return Pair(_pem(certificate), _key_pem(own))

    return ClusterKeys(_pem(authority), pair("scheduler"), pair("client"), pair("worker"))


def write_worker_keys(keys: ClusterKeys, folder: Path) -> KeyFiles:
    """Write the workers' key into `folder`, which nobody but its owner can enter; return where."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    files = KeyFiles(folder / "authority.pem", folder / "worker.pem", folder / "worker.key")
    texts = (keys.authority, keys.worker.certificate, keys.worker.key)
    for path, text in zip((files.authority, files.certificate, files.key), texts, strict=True):
        # Never, not even for a moment, with wider rights; a file that is there is somebody else's doing.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    return files


def _name(text: str) -> x509.Name:
    # A certificate's name holds no more.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    lifetime: datetime.timedelta,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
