"""The command line: parse, wire, call one workflow, render, exit."""
