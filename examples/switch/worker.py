"""A worker of both engines: `onward worker examples.switch.tasks`, without the extra `cli`."""

import sys

from examples.switch.tasks import orders, reminders, report
from onward import Catalog, connect, unwrap, work

if __name__ == "__main__":
    backend = unwrap(connect(sys.argv[1]))
    unwrap(work(Catalog(orders, reminders, report), on=backend, concurrency=4))
