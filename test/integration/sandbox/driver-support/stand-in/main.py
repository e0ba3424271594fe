"""In place of the Python runner: evaluates what each line says and answers with a line of JSON."""

import json
import sys

scope: dict[str, object] = {}
sys.stdout.write("ready\n")
sys.stdout.flush()
for line in sys.stdin:
    source = json.loads(line)
    try:
        exec(source, scope)
        answer = {"value": scope.get("result")}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
