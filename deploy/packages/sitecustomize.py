"""Read at each start of the private interpreter: where its packages are, and whom it trusts.

Goes into the standard library of the package, as `python -I` reads it there and nowhere else.
"""

import os
import sys

# One file with all authorities, as kept by Debian and Ubuntu, by RHEL and Fedora, and by SUSE. The OpenSSL in this
# package looks where the distribution it was built on has them.
AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
)


def _find_packages() -> None:
    # Debian's own interpreter looks in dist-packages only.
    packages = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site-packages")
    if packages not in sys.path:
        sys.path.append(packages)


def _find_authorities() -> None:
    if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return
    for bundle in AUTHORITIES:
        if os.path.exists(bundle):
            # Not through os.environ: the jobs of `gpuwatch run` get that, and are none of our business.
            os.putenv("SSL_CERT_FILE", bundle)
            return


_find_packages()
_find_authorities()
