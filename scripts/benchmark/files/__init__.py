"""Files to measure on."""
