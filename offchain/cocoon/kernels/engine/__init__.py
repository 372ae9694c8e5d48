"""Running bundles: slots, prefill, decode, sampling, text."""
