"""An app with jobs for the worker's tests."""
