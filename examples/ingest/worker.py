"""A worker for the demo's tasks: `onward worker examples.ingest.tasks`, without the extra `cli`."""

import sys

from examples.ingest.tasks import ingest
from onward import Catalog, connect, unwrap, work

if __name__ == "__main__":
    unwrap(work(Catalog(ingest), on=unwrap(connect(sys.argv[1]))))
