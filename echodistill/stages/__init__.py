"""One short module for each stage of the graphs, which takes arguments and writes files.

Nothing imports a stage; ``entry.py`` starts them.
"""

import gc

# A stage is a process of its own that loads large libraries. Their objects stay until its end, and
# searching them for garbage again and again takes up to a quarter of its start.
# ``entry.run_stage`` excludes them from the search before the stage works.
gc.disable()
