"""The machine a benchmark runs on."""
