"""Other projects' merge rules on the benchmark's cases: their own released code, in an environment of their own.

`requirements.txt` names what that environment holds. It lies in `.venv-peers` at the root of the repository; the
environment variable SEGWORKERS_PEERS_PYTHON names another Python. `rules` lists what can be run, `client.run` runs it
from the project's own environment, `run` is the process at the other end. Adapters (`with_*`) hand a case over in the
form that the peer keeps detections in, let the peer merge, and take its answer back as masks.
"""
