"""`python -m context_rcnn.cli VERB`, the same as `context-rcnn VERB`."""

import sys

from context_rcnn.cli.parser import main

if __name__ == "__main__":
    sys.exit(main())
