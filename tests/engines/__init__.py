"""The real servers that tests run against, and the workers that tests kill.

Every server listens on loopback alone, on ports chosen when it starts, and keeps its data in the
folder it is given. What is started here ends with the test run, also if that is killed.
"""
