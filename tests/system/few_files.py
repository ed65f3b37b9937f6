"""`python -m tests.system.few_files`: `sidecar`, begun with as few open files as FILES says."""

import os
import resource

from sidecar.__main__ import main

if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(os.environ.pop("FILES")), hard))
    main()
