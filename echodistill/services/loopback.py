"""Make programs reach services on this machine without a proxy, whatever proxies the environment
names.
"""

import re
from collections.abc import Mapping
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def bypass_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``no_proxy`` in both spellings that programs read.

    Loopback is added to the hosts that ``environment`` excludes already.
    """
    named = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
    hosts = dict.fromkeys(host for host in (*map(str.strip, named.split(",")), *LOOPBACK) if host)
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(hosts))


def without_socks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` without SOCKS proxies, with which Prefect's HTTP client cannot be
    created.
    """
    return {
        name: value
        for name, value in environment.items()
        if not (name.lower().endswith("_proxy") and re.match(r"socks\w*://", value, re.I))
    }
