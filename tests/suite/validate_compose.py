# Validates a compose file by the JSON schema: validate_compose.py SCHEMA FILE
import json
import sys

import jsonschema
import yaml

schema = json.load(open(sys.argv[1], encoding="utf-8"))
compose = yaml.safe_load(open(sys.argv[2], encoding="utf-8"))
# The schema says that durations have a form; unknown forms are ignored unless checked here.
faults = list(jsonschema.Draft7Validator(schema).iter_errors(compose))
for fault in faults:
    print("/".join(map(str, fault.absolute_path)) + ": " + fault.message)
print(json.dumps(compose))
sys.exit(1 if faults else 0)
