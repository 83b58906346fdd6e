"""How a run is driven: command line, spec, stages, engines. The only package that knows Ray."""
