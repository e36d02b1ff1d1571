"""The test kit: fakes, contract suites and builders, shipped so that others can use them, imported by nothing else."""
