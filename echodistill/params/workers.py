"""Section ``workers`` of ``params.yaml``: where work is computed."""

import re

from pydantic import field_validator

from echodistill.params.types import Section

_SCHEDULER = re.compile(r"(tcp|tls)://([\w.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}", re.ASCII)


class WorkersParams(Section):
    """Where CPU work is computed. The results are the same bytes everywhere, so no stage lists this
    for DVC.
    """

    address: str | None
    """A Dask scheduler (``tcp://host:8786``); ``None``: this machine's cores."""

    @field_validator("address")
    @classmethod
    def _scheduler(cls, value: str | None) -> str | None:
        if value is not None and not _SCHEDULER.fullmatch(value):
            raise ValueError(
                "is no address of a Dask scheduler: write tcp://host:8786, or null for this"
                " machine's cores"
            )
        return value
