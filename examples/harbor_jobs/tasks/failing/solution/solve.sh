#!/bin/bash
set -euo pipefail

# Wrong on purpose: in the order of the file, and a name forgotten.
sed 's/.*/Hello, &!/; $d' names.txt > greetings.txt
