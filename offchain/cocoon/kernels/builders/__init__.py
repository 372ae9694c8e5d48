"""Making bundles out of other people's formats and functions."""
