"""An example app, for tests."""
