"""Commands that ask running routers: `fairlead explain` and `fairlead top`."""
