#!/bin/bash
set -euo pipefail

sort names.txt | while read -r name; do
  echo "greeting $name"
  echo "Hello, $name!" >> greetings.txt
done
