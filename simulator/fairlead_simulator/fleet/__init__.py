"""A pool under a virtual clock: engine cores, routers with the decider that runs live, clients of several classes."""
