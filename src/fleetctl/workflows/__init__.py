"""One verb each: observe, decide, act, verify, report. They speak only to ports."""
