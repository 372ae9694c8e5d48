"""The whole idea at work, on real parts: a local TON network, deployed contracts, an agent with a model, a client."""
