"""A worker for these tasks: `onward worker examples.move.tasks`, without the extra `cli`."""

import sys

from examples.move.tasks import orders
from onward import Catalog, connect, unwrap, work

if __name__ == "__main__":
    unwrap(work(Catalog(orders), on=unwrap(connect(sys.argv[1]))))
