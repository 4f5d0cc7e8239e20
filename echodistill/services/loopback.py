"""What stands on this machine is reached without a proxy, whatever the environment names for the
rest of the net.
"""

import re
from collections.abc import Mapping
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def direct(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``no_proxy``, in both spellings that programs read, with loopback added to what
    ``environment`` excepts already.
    """
    named = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = dict.fromkeys(host for host in (*map(str.strip, named.split(",")), *LOOPBACK) if host)
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(hosts))


def without_socks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` without proxies of the kind SOCKS: where one is named, Prefect's HTTP
    client cannot even be made.
    """
    return {
        name: value
        for name, value in environment.items()
        if not (name.lower().endswith("_proxy") and re.match(r"socks\w*://", value, re.I))
    }
