"""The kinds of nodes. `map`, `loop` and `subworkflow` run bodies: the engine does that (apps.workflows.engine)."""
