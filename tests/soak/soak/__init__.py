"""The router under load for minutes while everything around it breaks: engines, clients, configuration, its workers.

| module | what |
|---|---|
| `answers` | the one right answer to every request, and what has come of it |
| `engine` | an engine that gives these answers, and notes which of them it has sent to the end |
| `client`, `load` | connections; requests at a rate, each with its record |
| `processes`, `pool` | processes and what /proc knows of them; engines, the router, its files |
| `turmoil` | what breaks, and when |
| `verdict` | what must hold of all records together |
| `run` | the order of it all |
"""
