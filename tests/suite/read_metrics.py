# Reads a page of /metrics by the parser of Prometheus's own client: read_metrics.py openmetrics|text FILE
#
# Prints each sample in a form that is the same for both formats: name, labels, value.
import json
import sys

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as text

page = open(sys.argv[2], encoding="utf-8").read()
reader = {"openmetrics": openmetrics, "text": text}[sys.argv[1]]
for family in reader.text_string_to_metric_families(page):
    for sample in family.samples:
        # The formats write numbers in different ways.
        labels = {name: float(text) if name == "le" else text for name, text in sample.labels.items()}
        print(json.dumps([sample.name, sorted(labels.items()), float(sample.value)]))
