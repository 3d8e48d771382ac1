#!/usr/bin/env python3
"""MaskBench's schemas and documents (github.com/guidance-ai/jsonschemabench, maskbench/data; fetched by hand, no part of
this repository) by the judgement of build/tests/generate_documents --judge --formats.

    judge_maskbench.py PROGRAM FOLDER

Ends with 1 where a document's verdict is not the one that its file says.
"""
import collections
import json
import pathlib
import subprocess
import sys


def main():
    program, folder = sys.argv[1:]
    cases = [json.loads(path.read_text()) for path in sorted(pathlib.Path(folder).glob("*.json"))]
    lines = [[case["schema"]] + [json.dumps(test["data"], ensure_ascii=False) for test in case["tests"]] for case in cases]
    judged = subprocess.run([program, "--judge", "--formats"], input="".join(json.dumps(line) + "\n" for line in lines).encode(),
                            stdout=subprocess.PIPE, check=True).stdout.decode().split("\n")
    counts, reasons = collections.Counter(), collections.Counter()
    for case, verdicts in zip(cases, judged):
        if verdicts.startswith("refused"):
            counts["schemas refused"] += 1
            reasons[verdicts.split(": ", 2)[-1][:100]] += 1
            continue
        counts["schemas taken"] += 1
        for test, verdict in zip(case["tests"], verdicts):
            counts[f"{'valid' if test['valid'] else 'invalid'} documents {'accepted' if verdict == '1' else 'rejected'}"] += 1
    for what, count in sorted(counts.items()):
        print(f"{count:6} {what}")
    for why, count in reasons.most_common(10):
        print(f"  {count} x {why}")
    return counts["valid documents rejected"] + counts["invalid documents accepted"] > 0


if __name__ == "__main__":
    sys.exit(main())
