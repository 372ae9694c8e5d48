"""Evidence that a worker runs in an enclave: where it comes from, what it says and what proves it."""
