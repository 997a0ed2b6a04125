#!/bin/bash
# Harbor's container has /logs and /tests; the local executor names its own by variables.
logs=${LOGS_DIR:-/logs}
tests=${TESTS_DIR:-/tests}

if diff "$tests/expected.txt" greetings.txt; then
  echo "all greetings are right"
  echo 1 > "$logs/verifier/reward.txt"
else
  echo 0 > "$logs/verifier/reward.txt"
fi
