"""The parts of `benchmarks.check_gpu`: what a machine's GPU is asked, and the page that says what it answered."""
