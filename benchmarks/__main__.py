"""`python -m benchmarks`."""

from benchmarks.overhead import main

main()
