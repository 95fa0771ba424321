"""Coverage-guided fuzzers of the parts that are plain C, by clang and its libFuzzer, with both sanitizers.

    python -m tests.fuzz.libfuzzer                  # builds it and runs it for half a minute
    python -m tests.fuzz.libfuzzer -- -runs=1000000  # with libFuzzer's own options, or a file crash-... to show again

Needs `apt-get install clang libclang-rt-14-dev`, which takes half a gigabyte with what they need; scripts/setup-tests
does not install them, so a test that finds none is left out.
"""
