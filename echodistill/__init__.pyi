from echodistill.library import (
    Example as Example,
)
from echodistill.library import (
    NoisyData as NoisyData,
)
from echodistill.library import (
    answer as answer,
)
from echodistill.library import (
    compare as compare,
)
from echodistill.library import (
    load_model as load_model,
)
from echodistill.library import (
    train as train,
)

STARTED_S: float
PARENT_AT_START: int
LIBRARY: tuple[str, ...]
