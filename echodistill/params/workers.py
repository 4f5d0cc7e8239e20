"""Section ``workers`` of ``params.yaml``: where CPU work is computed."""

import re

from pydantic import field_validator

from echodistill.params.types import Section

_SCHEDULER = re.compile(r"(tcp|tls)://([\w.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}", re.ASCII)


class WorkersParams(Section):
    """Where CPU work is computed. The results are the same bytes everywhere, so no stage declares
    this section to DVC.
    """

    address: str | None
    """Address of a Dask scheduler (``tcp://host:8786``); ``None`` uses the cores of this machine.
    """

    @field_validator("address")
    @classmethod
    def _scheduler(cls, value: str | None) -> str | None:
        if value is not None and not _SCHEDULER.fullmatch(value):
            raise ValueError(
                "is no address of a Dask scheduler: write tcp://host:8786, or null for this"
                " machine's cores"
            )
        return value
