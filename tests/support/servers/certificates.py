"""Certificates for servers and clients."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .programs import Missing


@dataclass(frozen=True)
class Certificates:
    """An authority and what it signed: a server for 127.0.0.1 and localhost, and one client."""

    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "authority.crt"

    @property
    def server(self) -> tuple[Path, Path]:
        """The certificate and the key of the server."""
        return self.folder / "server.crt", self.folder / "server.key"

    @property
    def client(self) -> tuple[Path, Path]:
        """The certificate and the key of the client."""
        return self.folder / "client.crt", self.folder / "client.key"

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them with the openssl command.

        :raises Missing: if that command is not installed.
        """
        if shutil.which("openssl") is None:
            raise Missing("no openssl: apt-get install openssl")

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        (folder / "authority.cnf").write_text(
            "[req]\ndistinguished_name=dn\nx509_extensions=ext\nprompt=no\n[dn]\nCN=authority\n"
            "[ext]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
            "subjectKeyIdentifier=hash\n"
        )
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        openssl(
            *("req", "-x509", *new_key, "-days", "2", "-config", "authority.cnf"),
            *("-keyout", "authority.key", "-out", "authority.crt"),
        )
        for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
            (folder / f"{name}.ext").write_text(
                "basicConstraints=critical,CA:FALSE\nauthorityKeyIdentifier=keyid\n"
                f"extendedKeyUsage={usage}\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n"
            )
            openssl(
                *("req", "-new", *new_key, "-subj", f"/CN={name}"),
                *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
            )
            openssl(
                *("x509", "-req", "-in", f"{name}.csr", "-days", "2", "-extfile", f"{name}.ext"),
                *("-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial"),
                *("-out", f"{name}.crt"),
            )
        return cls(folder)
