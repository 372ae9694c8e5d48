"""A worker as its owner meets it: set up, run, looked at. The agent that serves is `cocoon.agent`."""
